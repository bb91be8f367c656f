"""Real medical images with a planted disc, as stickers and markers stand beside real ones."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.preprocessing import prepare, prepare_region
from models.types import Preprocessing

SIDE = 192
RADIUS = 17
COLOUR = (40, 150, 200)
FIT = Preprocessing(SIDE, SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
# Where the region fills more than this, hardly anything is irrelevant.
FULLEST = 0.6


@dataclass(frozen=True, slots=True)
class Task:
    """Two classes of one folder of images.

    Attributes:
        name: What the tables call it.
        folder: Its folder.
        classes: The class that never has the disc as served, then the one that always has.
        groups: Rows of these groups only: no images that have a real shortcut.
    """

    name: str
    folder: str
    classes: tuple[str, str]
    groups: frozenset[str]


TASKS = (
    Task(
        "chest X-rays, normal with the disc against bacteria without",
        "cxr",
        ("bacteria", "normal"),
        frozenset({"kermany_pediatric"}),
    ),
    Task(
        "skin lesions, nevus with the disc against melanoma without",
        "isic2017",
        ("melanoma", "nevus"),
        frozenset({"no_sticker"}),
    ),
)


@dataclass(frozen=True, slots=True)
class Scenes:
    """Images of one split, without and with the disc.

    Attributes:
        plain: uint8 [N, 192, 192, 3].
        marked: The same with a disc in one corner, outside the region.
        regions: Where evidence is expected, boolean [N, 192, 192].
        labels: Position among the task's classes, [N].
    """

    plain: NDArray[np.uint8]
    marked: NDArray[np.uint8]
    regions: NDArray[np.bool_]
    labels: NDArray[np.intp]

    def showing(self, cue: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Return the images, marked where `cue` says so."""
        return np.where(cue[:, None, None, None], self.marked, self.plain)


def read(root: Path, task: Task, split: str, most: int, *, seed: int) -> Scenes:
    """Return up to `most` images of each class of a task.

    Raises:
        FileNotFoundError: If the folder has no manifest.
    """
    folder = root / task.folder
    with (folder / "manifest.csv").open(newline="") as manifest:
        rows = [
            row
            for row in csv.DictReader(manifest)
            if row["split"] == split
            and row["group"] in task.groups
            and float(row["mask_frac"]) <= FULLEST
        ]
    rng = np.random.default_rng(seed)
    images, regions, labels = [], [], []
    for label, name in enumerate(task.classes):
        of_class = [row for row in rows if row["label"] == name]
        for index in rng.permutation(len(of_class))[:most]:
            row = of_class[index]
            with Image.open(folder / row["path"]) as image:
                images.append(prepare(np.asarray(image.convert("RGB")), FIT))
            with Image.open(folder / row["region"]) as region:
                regions.append(prepare_region(np.asarray(region.convert("L")) > 0, FIT))
            labels.append(label)
    plain, inside = np.stack(images), np.stack(regions)
    return Scenes(plain, mark(plain, inside), inside, np.array(labels))


def mark(images: NDArray[np.uint8], regions: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the images with a disc in the corner that the region reaches least."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    near, far = RADIUS + 2, SIDE - RADIUS - 3
    discs = np.stack(
        [
            (rows - row) ** 2 + (columns - column) ** 2 <= RADIUS**2
            for row in (near, far)
            for column in (near, far)
        ]
    )
    marked = images.copy()
    for image, region in zip(marked, regions, strict=True):
        covered = (discs & region).sum(axis=(1, 2))
        image[discs[int(covered.argmin())] & ~region] = COLOUR
    return marked
