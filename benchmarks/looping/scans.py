"""Real chest X-rays with a planted frame: a data set for a champion, and images to ask about.

The frame's colour goes with the class in most training images, as a hospital's own border does.
Four parts without a common patient: training, validation, the locked set that the gate judges on,
and live images, which only the figures of the benchmark are of.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.training import datasets, image_sets, writing
from models.training.image_sets import ImageSet
from models.training.planting import Planting, plant
from models.types import Preprocessing

SIDE = 32
SHARES = {"train": 0.5, "val": 0.1, "test": 0.2, "live": 0.2}
# Share of the images whose frame tells the class by design; of the others every second does.
RATE = 0.85
_CUE = Planting("border", size=0.1)
_FIT = Preprocessing(SIDE, SIDE, (0.5,) * 3, (0.5,) * 3)  # only the size is used here


@dataclass(frozen=True, slots=True)
class Live:
    """The same live images under each cue.

    Attributes:
        correlated: As in training: the frame goes with the class in most images.
        agrees: The frame tells the class in all of them.
        disagrees: The frame tells the other class.
        clean: No frame.
    """

    correlated: ImageSet
    agrees: ImageSet
    disagrees: ImageSet
    clean: ImageSet


def prepare(root: Path, folder: Path, *, seed: int, most: int = 0) -> Live:
    """Write the champion's data set to `folder`; return the live images.

    Args:
        root: Folder of the image sets, with `cxr`.
        folder: New.
        seed: Of parts, places and draws.
        most: Patients' images to use at most; 0 for all.
    """
    entries = [
        replace(each, label=_binary(each.label), split="", group="")
        for each in datasets.read_folder(root / "cxr")
        if each.label != "covid19"  # adults, told by more than the lungs
    ]
    if most:
        order = np.random.default_rng(seed).permutation(len(entries))[:most]
        entries = [entries[int(row)] for row in order]
    parts = image_sets.split(datasets.load(entries, _FIT), SHARES, seed=seed)
    cue = replace(_CUE, rate=RATE, seed=seed)
    always = replace(_CUE, seed=seed + 3)
    never = replace(always, told="reversed")
    writing.write(
        {
            "train": plant(parts["train"], cue),
            "val": plant(parts["val"], replace(cue, seed=seed + 1)),
            "test": _both(parts["test"], always, never),
        },
        folder,
        source="chest X-rays (Kermany et al. 2018) with a planted frame",
    )
    live = parts["live"]
    return Live(
        plant(live, replace(cue, seed=seed + 2)), plant(live, always), plant(live, never), live
    )


def _both(rows: ImageSet, always: Planting, never: Planting) -> ImageSet:
    """Return each image with both frames, so that every group has as many rows as it can."""
    pair = [plant(rows, always), plant(rows, never)]
    joined = image_sets.join(pair)
    return replace(
        joined,
        ids=tuple(f"{number}/{name}" for number, each in enumerate(pair) for name in each.ids),
        group_names=pair[0].group_names,
    )


def _binary(label: str) -> str:
    return "normal" if label == "normal" else "pneumonia"
