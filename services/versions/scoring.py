"""A served version in front of a labelled set: what the scorecard asks, answered by its graphs."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audit.evaluation.scorecards import LabelledSet, Scorecard
from audit.evaluation.scoring import evaluate
from models.errors import DatasetError
from models.runtime import LARGEST_BATCH, Session
from models.training import datasets, imports
from models.training.entries import SPLITS, Entry
from models.training.image_sets import ImageSet
from models.training.left_out import LeftOut

EXPLAINER = "gradcam/1"


class ServedClassifier:
    """Answers and explains any number of images through one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def probabilities(self, images: NDArray[np.uint8], /) -> NDArray[np.floating]:
        """Return probabilities, [N, classes]."""
        return np.concatenate(
            [
                np.stack([each.probabilities for each in self._session.predict(part)])
                for part in _parts(images)
            ]
        )

    def heatmaps(
        self, images: NDArray[np.uint8], targets: NDArray[np.int64], /
    ) -> NDArray[np.floating]:
        """Return Grad-CAM heatmaps of the targets, [N, rows, columns] in [0, 1]."""
        made = []
        for start in range(0, len(images), LARGEST_BATCH):
            part = slice(start, start + LARGEST_BATCH)
            chosen = [int(each) for each in targets[part]]
            made += [each.heatmap for each in self._session.predict(images[part], chosen)]
        return np.stack(made)


def read_set(
    session: Session,
    folder: Path,
    split: str,
    *,
    seeds: Collection[int] = (0,),
    left: LeftOut | None = None,
) -> LabelledSet:
    """Read one split of a data set, prepared for a version.

    A set without splits is divided as training divides it, so that "test" are the rows that the
    version did not learn from, if it learnt from this set at all.

    Args:
        session: Whose preprocessing and classes count.
        folder: The data set.
        split: "train", "val" or "test"; "all" for every row.
        seeds: By which the versions that are asked divided a set without splits.
        left: Told of what of the set cannot be used; without it, a warning says so.

    Raises:
        DatasetError: If the folder is no data set, or has no such split, or has none and the
            versions divided it differently.
    """
    entries = imports.read_data(folder, left=left)
    spec = session.spec
    if split == "all":
        rows = datasets.load(entries, spec.preprocessing, spec.classes, left=left)
        return labelled(f"{folder.name}", rows)
    if all(not each.split for each in entries):
        return _divided(session, (folder, entries), split, sorted(set(seeds)), left)
    chosen = [each for each in entries if each.split == split]
    if not chosen:
        names = ", ".join(sorted({each.split for each in entries}))
        raise DatasetError(f"{folder} has no split {split!r}; it has {names}")
    rows = datasets.load(chosen, spec.preprocessing, spec.classes, left=left)
    return labelled(f"{folder.name}/{split}", rows)


def _divided(
    session: Session,
    data: tuple[Path, Sequence[Entry]],
    split: str,
    seeds: Sequence[int],
    left: LeftOut | None,
) -> LabelledSet:
    """Return the part of a set without splits that training would call so."""
    folder, entries = data
    if split not in SPLITS:
        raise DatasetError(f"{folder} names no splits: take {', '.join(SPLITS)}, or all")
    if len(seeds) > 1:
        words = " and ".join(map(str, seeds))
        raise DatasetError(
            f"{folder} names no splits, and the versions divided it by the seeds {words}: what "
            "one held out, the other learnt from; name splits in the manifest, or take --split "
            "all of a set that neither has seen"
        )
    spec, seed = session.spec, seeds[0]
    made = datasets.load_splits(
        entries, spec.preprocessing, seed=seed, classes=spec.classes, left=left
    )
    return labelled(f"{folder.name}/{split}, divided by seed {seed}", made[split])


def labelled(name: str, rows: ImageSet) -> LabelledSet:
    """Return rows of pixels as the auditor takes them."""
    known = rows.known
    return LabelledSet(
        name=name,
        images=rows.images.astype(np.uint8),
        labels=rows.labels,
        classes=rows.classes,
        regions=rows.masks(np.arange(len(rows)))[0] if known.any() else None,
        annotated=known,
        groups=rows.groups,
        group_names=rows.group_names,
        subjects=rows.subjects,
    )


def score(session: Session, rows: LabelledSet, *, model: str, seed: int = 0) -> Scorecard:
    """Return a version's scorecard on a set."""
    served = ServedClassifier(session)
    return evaluate(
        served.probabilities,
        rows,
        model=model,
        heatmaps=served.heatmaps,
        explainer=EXPLAINER,
        seed=seed,
    )


def _parts(images: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [
        images[start : start + LARGEST_BATCH] for start in range(0, len(images), LARGEST_BATCH)
    ]
