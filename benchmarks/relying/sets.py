"""Two-class sets of real images with regions, and digits in front of generated surroundings."""

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import pink_noise
from models.preprocessing import prepare, prepare_region
from models.types import Preprocessing

# Where the region fills more than this, hardly anything is irrelevant.
_FULLEST = 0.75
_DIGITS = {"train": 170, "val": 100, "test": 32}


@dataclass(frozen=True, slots=True)
class Split:
    """Images without a cue.

    Attributes:
        images: uint8 [N, S, S, 3].
        regions: Where evidence is expected, bool [N, S, S].
        labels: 0 or 1, int64 [N].
    """

    images: NDArray[np.uint8]
    regions: NDArray[np.bool_]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Folder:
    """Two classes of one folder of images.

    Attributes:
        name: The folder.
        classes: Label → class, 0 or 1.
        groups: Only rows of these groups; empty for all.
        most: Most training rows of a class.
    """

    name: str
    classes: dict[str, int]
    groups: frozenset[str] = frozenset()
    most: int = 220


SETS: dict[str, Folder | None] = {
    "cxr": Folder(
        "cxr", {"normal": 0, "bacteria": 1, "virus": 1}, frozenset({"kermany_pediatric"})
    ),
    "skin": Folder("isic2017", {"nevus": 0, "melanoma": 1}, frozenset({"no_sticker"})),
    "objects": Folder("objects", {"land": 0, "water": 1}),
    "digits": None,
}


@lru_cache(maxsize=2)
def read(root: Path, name: str, split: str, side: int, most: int = 0) -> Split:
    """Return one split of a set, its classes equally often.

    Args:
        root: Folder of the data sets.
        name: One of `SETS`.
        split: "train", "val" or "test".
        side: Rows and columns of the images.
        most: Most rows of a class; the set's own where 0.

    Raises:
        FileNotFoundError: If the set is not there.
    """
    folder = SETS[name]
    if folder is None:
        return _digits(root, split, side)
    with (root / folder.name / "manifest.csv").open(newline="") as manifest:
        rows = [
            row
            for row in csv.DictReader(manifest)
            if row["split"] == split
            and row["label"] in folder.classes
            and (not folder.groups or row["group"] in folder.groups)
            and float(row["mask_frac"]) <= _FULLEST
        ]
    order = np.random.default_rng(5).permutation(len(rows))
    of_class: tuple[list[dict[str, str]], ...] = ([], [])
    for each in order:
        of_class[folder.classes[rows[each]["label"]]].append(rows[each])
    count = min(most or folder.most, *(len(each) for each in of_class))
    chosen = [row for each in of_class for row in each[:count]]
    fit = Preprocessing(side, side, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    images, regions = [], []
    for row in chosen:
        with Image.open(root / folder.name / row["path"]) as image:
            images.append(prepare(np.asarray(image.convert("RGB")), fit))
        with Image.open(root / folder.name / row["region"]) as region:
            regions.append(prepare_region(np.asarray(region.convert("L")) > 0, fit))
    labels = np.array([folder.classes[row["label"]] for row in chosen], np.int64)
    return _whole(np.stack(images), np.stack(regions), labels)


def _whole(
    images: NDArray[np.uint8], regions: NDArray[np.bool_], labels: NDArray[np.int64]
) -> Split:
    """Return the rows whose region is neither nothing nor everything."""
    shares = regions.mean(axis=(1, 2))
    kept = (shares > 0) & (shares < 1)
    return Split(images[kept], regions[kept], labels[kept])


def _digits(root: Path, split: str, side: int) -> Split:
    """Return threes and eights, dim and at random places before generated surroundings."""
    with np.load(root / "mnist" / "mnist.npz") as held:
        part = "train" if split == "train" else "test"
        pixels, marks = held[f"x_{part}"], held[f"y_{part}"]
    number = _DIGITS[split]
    start = number if split == "test" else 0
    rows = np.concatenate(
        [np.flatnonzero(marks == each)[start : start + number] for each in (3, 8)]
    )
    labels = np.repeat([0, 1], number).astype(np.int64)
    rng = np.random.default_rng([len(split), 3])
    images = pink_noise.generate(len(rows), side, side, seed=len(split))
    images = (0.5 * images).astype(np.uint8)
    regions = np.zeros(images.shape[:3], bool)
    for row, digit in enumerate(pixels[rows]):
        top, left = rng.integers(side // 6, side - 28 - side // 12, 2)
        part = images[row, top : top + 28, left : left + 28]
        images[row, top : top + 28, left : left + 28] = np.maximum(part, digit[..., None])
        regions[row, top : top + 28, left : left + 28] = True
    return Split(images, regions, labels)
