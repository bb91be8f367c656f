"""One row of a data set before its pixels are read, and where its files lie."""

import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError

SPLITS = ("train", "val", "test")
_SPELLED = {
    "train": ("train", "training", "trn", "tr"),
    "val": ("val", "valid", "validation", "validate", "dev", "development"),
    "test": ("test", "testing", "tst"),
}
_SPLIT_OF = {spelling: split for split, known in _SPELLED.items() for spelling in known}


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a data set before its pixels are read; "" means not known.

    Attributes:
        name: What a message calls the row, for example "manifest.csv:17 (images/a.png)".
        path: The image's file.
        label: Class label.
        region: File of the relevant mask, or a function that draws it at a given size.
        irrelevant: File of the irrelevant mask.
        split: "train", "val", "test" or "".
        subject: Whom the image shows.
        group: Subpopulation.
        source: Where the image comes from: a note for people, which goes no further than here.
    """

    name: str
    path: Path
    label: str
    region: Path | Callable[[int, int], NDArray[np.bool_]] | None = None
    irrelevant: Path | None = None
    split: str = ""
    subject: str = ""
    group: str = ""
    source: str = ""


def split_of(name: str) -> str:
    """Return the split that a folder or a cell names in one of its usual spellings, else "".

    Examples:
        >>> split_of("Validation"), split_of("cats")
        ('val', '')
    """
    return _SPLIT_OF.get(name.strip().casefold(), "")


def inside(folder: Path, relative: str, name: str) -> Path:
    """Return a file of the folder; a path that leaves it is refused, a link in it is followed.

    Paths of Windows are understood, and names whose letters are composed otherwise than on disk.

    Raises:
        DatasetError: If it lies outside, or there is no such file.
    """
    root = Path(os.path.abspath(folder))  # noqa: PTH100 - `resolve` would follow links out of it
    outside = True
    for spelling in _spellings(relative):
        path = Path(os.path.abspath(root / spelling))  # noqa: PTH100 - as above
        if path.is_relative_to(root):
            outside = False
            if path.is_file():
                return path
    if outside:
        raise DatasetError(f"{name}: {relative} lies outside the data set")
    raise DatasetError(f"{name}: {relative} does not exist")


def _spellings(relative: str) -> list[str]:
    """Return a path as it is, and as other systems would have written it."""
    plain = [relative, relative.replace("\\", "/")]
    forms = [unicodedata.normalize(form, each) for each in plain for form in ("NFC", "NFD")]
    return list(dict.fromkeys([*plain, *forms, *(unquote(each) for each in plain)]))
