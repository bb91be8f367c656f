"""An image set as a folder with a manifest, the form that `datasets` reads."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.errors import DatasetError
from models.training.image_sets import ImageSet

_COLUMNS = ("path", "label", "region", "irrelevant", "split", "subject", "group", "source")


def write(splits: Mapping[str, ImageSet], folder: Path, *, source: str = "") -> None:
    """Write splits as PNG files with `manifest.csv`.

    Args:
        splits: "train", "val", "test" → rows of pixels.
        folder: New or empty.
        source: Noted in every row: where the images come from and what was done to them.

    Raises:
        DatasetError: If the folder holds something, or a set holds no pixels.
    """
    if folder.exists() and any(folder.iterdir()):
        raise DatasetError(f"{folder} is not empty")
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for split, rows in splits.items():
        if rows.images.dtype != np.uint8:
            raise DatasetError(f"the split {split!r} holds no pixels")
        lines += [_row(rows, row, split, folder) | {"source": source} for row in range(len(rows))]
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(lines)


def _row(rows: ImageSet, row: int, split: str, folder: Path) -> dict[str, str]:
    """Write one row's files; return its line of the manifest."""
    name = f"{split}/{row:06d}.png"
    _save(folder / "images" / name, rows.images[row])
    line = {
        "path": f"images/{name}",
        "label": rows.classes[int(rows.labels[row])],
        "split": split,
        "subject": "" if rows.subjects is None else rows.subjects[row],
        "group": "" if rows.groups is None else rows.group_names[int(rows.groups[row])],
    }
    if rows.known[row]:
        masks = rows.masks(np.array([row]))
        for kind, mask in zip(("region", "irrelevant"), masks, strict=True):
            if kind == "region" and (mask.all() or not mask.any()):
                continue  # only what is irrelevant is known: a cue that hides it, or nothing
            _save(folder / kind / name, mask[0].astype(np.uint8) * 255)
            line[kind] = f"{kind}/{name}"
    return line


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
