"""Few rows and unequal classes: what explanations are worth where labels are short.

D1's square in a corner tells the digit. Each row of the table is trained on `n` digits per class,
then on classes of unequal size; every training takes the same number of steps, whatever the rows.
The test rows and their cue are the same for all seeds, so that models can be compared answer by
answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from models import architectures
from models.architectures import Classifier
from models.training import digits, generators, networks, procedures
from models.training.image_sets import ImageSet
from models.training.methods import objective
from models.training.optimizers import TrainingConfig
from models.training.scores import answers
from models.training.stages import Stages
from models.training.trainer import train
from relearning.recipes import Row, Table

_BATCH = 50
_LEAST = 1000  # rows of an epoch
_SHARE = 0.95  # of the ceiling's accuracy: when a training counts as converged


def cells_of(
    table: Table, rows: Sequence[Row], seed: int, data: Path, device: str
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Train every row on every number of digits and every imbalance.

    Settings of the table: `per_class`, `ratios` (every second class has as many times fewer rows
    than the largest of `per_class`), `steps`, `test`, and `curve`, the digits per class whose
    training is looked at on its way. The test rows are looked at after every epoch for that alone:
    the last epoch is what counts.
    """
    told = table.settings
    source = digits.mnist(data / "mnist" / "mnist.npz")
    test = generators.corner_decoy(source.some(1000, told["test"], seed=0), seed=0).tests["random"]
    most = max(told["per_class"])
    task = generators.corner_decoy(source.some(most * 24, 100, seed=seed), seed=seed)
    sizes = {str(each): [each] * 10 for each in told["per_class"]} | {
        f"1:{ratio}": [most if label % 2 else most // ratio for label in range(10)]
        for ratio in told["ratios"]
    }
    curve = str(told["curve"])
    first = next(row for row in table.rows if row.method.rows == "ceiling")
    ceiling = _learnt(
        first, _some(task.ceiling, sizes[curve], seed), test, told, seed=seed, device=device
    )
    goal = _SHARE * ceiling[1][-1]
    for row in rows:
        begun = perf_counter()
        learnt = task.ceiling if row.method.rows == "ceiling" else task.training
        at, steps = {}, None
        for name, each in sizes.items():
            few = _some(row.method.masks(learnt, seed), each, seed)
            network, accuracies = _learnt(row, few, test, told, seed=seed, device=device)
            at[name] = _judged(network, test)
            if name == curve:
                reached = np.flatnonzero(np.array(accuracies) >= goal)
                steps = int(reached[0] + 1) * _per_epoch(few) if len(reached) else None
        yield row, {
            "task": "D1, few rows",
            "method": row.name,
            "seed": seed,
            "recipe": {"settings": dict(told), "objective": row.method.objective,
                       "options": dict(row.method.options), "rows": row.method.rows},
            "seconds": round(perf_counter() - begun, 2),
            "at": at,
            "steps": steps,
        }  # fmt: skip


def _some(rows: ImageSet, sizes: Sequence[int], seed: int) -> ImageSet:
    """Return so many rows of each class, repeated until there are at least `_LEAST`."""
    draw = np.random.default_rng([seed, 31])
    chosen = np.concatenate(
        [
            draw.permutation(np.flatnonzero(rows.labels == label))[:size]
            for label, size in enumerate(sizes)
        ]
    )
    return rows.take(np.resize(draw.permutation(chosen), max(_LEAST, len(chosen))))


def _per_epoch(rows: ImageSet) -> int:
    return -(-len(rows) // _BATCH)


def _learnt(
    row: Row,
    rows: ImageSet,
    test: ImageSet,
    told: Mapping[str, Any],
    *,
    seed: int,
    device: str,
) -> tuple[Classifier, list[float]]:
    """Train one network by a row's method; return it and the test accuracy after each epoch."""
    config = TrainingConfig(
        epochs=max(1, round(told["steps"] / _per_epoch(rows))),
        batch_size=_BATCH,
        learning_rate=3e-3,
        schedule="cosine",
        criterion="last",
        seed=seed,
        device=device,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = architectures.build(networks.spec("narrow", rows.classes))
    name, options = row.method.objective, dict(row.method.options)
    if name in procedures.BY_NAME:
        chosen = procedures.BY_NAME[name](**options)
        setting = procedures.Setting(lambda: network, rows, test, config, Stages())
        outcome = chosen.run(setting)
        network, result = outcome.classifier, outcome.result
    else:
        made = objective(name, options)
        result = train(network, made, rows, test, config)
    return network, [(each.validation or {})["accuracy"] for each in result.history]


def _judged(network: Classifier, test: ImageSet) -> dict[str, Any]:
    """Return balanced accuracy with the cue at random, and the answers as digits."""
    found = answers(network, test)
    classes = np.unique(found.labels)
    balanced = np.mean([found.correct[found.labels == each].mean() for each in classes])
    return {
        "balanced": round(float(balanced), 4),
        "answers": "".join(map(str, found.logits.argmax(axis=1))),
    }
