"""The data that a champion learnt from, made or read again from what its card says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError
from models.registry import Version
from models.training import datasets, digits, generators, imports
from models.training.image_sets import ImageSet, join

# The numbers of a recipe that a retraining keeps.
_KEPT = frozenset(
    {
        *("epochs", "batch_size", "optimizer", "learning_rate", "weight_decay", "momentum"),
        *("schedule", "warmup", "clip", "criterion", "patience", "seed", "evaluation_batch"),
        "freeze_batchnorm",
    }
)
_DIGITS = "D1-colour"


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """What a retraining begins from.

    Attributes:
        training: Rows to learn from.
        validation: Rows that choose the epoch.
        locked: Rows that judge champion and candidate; nobody learns from them.
        units: What of the locked set belongs together, int64 [rows].
        origin: What the next card says, so that its data can be found again.
    """

    training: ImageSet
    validation: ImageSet
    locked: ImageSet
    units: NDArray[np.int64]
    origin: Mapping[str, Any]


def base_of(champion: Version) -> Base:
    """Return a champion's data.

    Raises:
        DatasetError: If the card names no data, or they are not there, or not the same any more.
    """
    recipe = champion.card.fields.lineage.recipe
    if recipe.get("task") == _DIGITS:
        seed = recipe.get("base_seed", recipe.get("seed", 0))
        return _coloured_digits(int(str(seed)), champion)
    folder = recipe.get("data")
    if not isinstance(folder, str) or not folder:
        raise DatasetError(
            f"the card of {champion.ref.name} version {champion.ref.version} names no data "
            "to learn from again"
        )
    return _folder(Path(folder), champion)


def recipe_of(champion: Version) -> dict[str, Any]:
    """Return how a champion was trained: the values of a `TrainingConfig`."""
    recipe = champion.card.fields.lineage.recipe
    nested = recipe.get("training")
    source = nested if isinstance(nested, Mapping) else recipe
    return {key: value for key, value in source.items() if key in _KEPT and value is not None}


def first_weights(champion: Version) -> str:
    """Return what the champion's training began with.

    Returns:
        "" for fresh weights, "imagenet" for the published ones, or a file of weights.
    """
    recipe = champion.card.fields.lineage.recipe
    return str(recipe.get("weights") or recipe.get("begins_with") or "")


def units_from(written: Sequence[int]) -> NDArray[np.int64]:
    """Return the units of a locked set as they were written to JSON."""
    return np.array(written, np.int64)


def _coloured_digits(seed: int, champion: Version) -> Base:
    task = generators.coloured_corner_decoy(digits.five_thousand_digits(seed=seed), seed=seed)
    stated = champion.card.fields.lineage.dataset
    parent = champion.card.fields.lineage.recipe.get("base_dataset", stated)
    if parent != task.training.digest:
        raise DatasetError(
            f"the digits are {task.training.digest}, the champion learnt from {parent}"
        )
    names = tuple(task.tests)
    parts = [
        replace(
            rows,
            groups=np.full(len(rows), number, np.int64),
            group_names=names,
            ids=tuple(f"{name}/{each}" for each in rows.ids),
        )
        for number, (name, rows) in enumerate(task.tests.items())
    ]
    count = len(parts[0])
    return Base(
        task.training,
        task.validation,
        replace(join(parts), group_names=names),
        np.tile(np.arange(count, dtype=np.int64), len(parts)),
        {"task": _DIGITS, "base_seed": seed, "base_dataset": task.training.digest},
    )


def _folder(folder: Path, champion: Version) -> Base:
    spec = champion.card.spec
    entries = imports.read_data(folder)
    seed = datasets.division_seed(champion.card.fields.lineage.recipe)
    splits = datasets.load_splits(entries, spec.preprocessing, seed=seed)
    missing = sorted({"train", "val", "test"} - splits.keys())
    if missing:
        raise DatasetError(
            f"{folder} has no split {', '.join(missing)}; the gate needs a test split"
        )
    if splits["train"].classes != spec.classes:
        raise DatasetError(f"{folder} has other classes than the champion")
    locked = splits["test"]
    subjects = locked.subjects or ("",) * len(locked)
    keys = [each or f"\0{row}" for row, each in enumerate(subjects)]
    index = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    names = locked.group_names if locked.groups is not None else locked.classes
    # The gate asks for rows of every group that is named: of those that the test split has.
    present = np.flatnonzero(np.isin(np.arange(len(names)), locked.subpopulations))
    grouped = replace(
        locked,
        groups=np.searchsorted(present, locked.subpopulations),
        group_names=tuple(names[each] for each in present),
    )
    return Base(
        splits["train"],
        splits["val"],
        grouped,
        np.array([index[key] for key in keys], np.int64),
        {"data": str(folder), "base_seed": seed, "base_dataset": splits["train"].digest},
    )
