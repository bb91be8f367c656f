"""A few images that travel with a version, so that anybody can try it at once.

samples/samples.json   [{"image": "00.png", "label": "7", "region": "00.region.png"}, …]
samples/00.png         as a client would send it
samples/00.region.png  where the evidence is expected: non-zero = relevant
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.errors import CorruptVersionError

FOLDER: Final = "samples"
_INDEX: Final = "samples.json"
_SUFFIX: Final = ".png"


@dataclass(frozen=True, slots=True)
class Sample:
    """One image to try a version with.

    Attributes:
        image: Pixels, uint8 RGB [rows, columns, 3]; any size.
        label: Its true class.
        region: Where the evidence is expected, bool [rows, columns]; None where nobody marked it.
    """

    image: NDArray[np.uint8]
    label: str
    region: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class SampleFile:
    """Where one sample of a version lies.

    Attributes:
        image: A PNG file.
        label: The image's true class.
        region: A PNG file, non-zero = relevant; None where nobody marked it.
    """

    image: Path
    label: str
    region: Path | None


def write(folder: Path, samples: Sequence[Sample]) -> None:
    """Put samples into a version's folder before it is added to the registry."""
    target = folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, sample in enumerate(samples):
        image, region = f"{number:02d}{_SUFFIX}", f"{number:02d}.region{_SUFFIX}"
        Image.fromarray(sample.image).save(target / image, optimize=True)
        if sample.region is not None:
            Image.fromarray(sample.region).save(target / region, optimize=True)
        entries.append(
            {
                "image": image,
                "label": sample.label,
                "region": None if sample.region is None else region,
            }
        )
    (target / _INDEX).write_text(json.dumps(entries, indent=1) + "\n", "utf-8")


def read(folder: Path) -> list[SampleFile]:
    """Return the samples of a version; none where it has none.

    Raises:
        CorruptVersionError: If their list cannot be read or names a file that is not there.
    """
    index = folder / FOLDER / _INDEX
    if not index.is_file():
        return []
    try:
        entries = [
            (str(each["image"]), str(each["label"]), each["region"])
            for each in json.loads(index.read_bytes())
        ]
    except (ValueError, LookupError, TypeError) as error:
        raise CorruptVersionError(f"{index} cannot be read: {error}") from error
    return [
        SampleFile(
            _inside(index, image), label, None if region is None else _inside(index, region)
        )
        for image, label, region in entries
    ]


def _inside(index: Path, name: str) -> Path:
    path = index.parent / name
    if Path(name).name != name or not path.is_file():
        raise CorruptVersionError(f"{index} names {name!r}, which is not beside it")
    return path
