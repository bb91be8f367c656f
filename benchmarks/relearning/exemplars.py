"""eXBL on chest X-rays: a classifier of four classes is refined, in several ways, and compared.

Every way begins with the same classifier and sees the same rows in the same order for the same
time, so that what more training does is told apart from what the exemplars do. Recall alone says
mostly how diffuse a map is; beside it stand recall less the mean of the map, and the share of the
evidence in the lungs over the share of the pixels that are lungs.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.architectures import Classifier
from models.explainers.base import heatmap
from models.explainers.gradcam import gradcam
from models.modes import evaluation_mode
from models.training import datasets
from models.training.batches import batches
from models.training.exemplary import ExemplaryLearning, active, by_recall, ranked
from models.training.image_sets import ImageSet
from models.training.objectives import ERM, Objective, fit_mask
from models.training.optimizers import TrainingConfig
from models.training.scores import answers, worst
from models.training.trainer import train
from models.types import Preprocessing
from relearning.recipes import Row, Table
from relearning.tasks import pretrained

_CONTINUED = "erm"
_DRAWS = 2000


def cells_of(
    table: Table, rows: Sequence[Row], seed: int, data: Path, device: str
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Train a classifier, refine it by every row's method, judge each on the test split.

    Settings of the table: `side`, `first` (rows, epochs and rate of the first training), `refine`
    and `test`, how many rows of the test split. A row without an objective is the classifier
    before refinement. Arms: the exemplars are chosen by recall ("recall"), the same exchanged
    ("exchanged"), or two at random ("random").
    """
    told = table.settings
    size = Preprocessing(told["side"], told["side"], (0.5,) * 3, (0.5,) * 3)
    sets = datasets.load_splits(datasets.read_folder(data / "cxr"), size)
    order = np.random.default_rng(25).permutation(len(sets["test"]))[: told["test"]]
    test = sets["test"].take(np.sort(order))
    first, rest = _drawn(sets["train"], told["first"]["rows"], told["refine"]["rows"], seed)
    few = sets["val"].take(np.arange(8))  # chooses nothing: the last epoch counts
    begun = perf_counter()
    base = pretrained(first.classes, told["side"], seed)
    base_config = _config(told["first"], seed, device)
    train(base, ERM(), first, few, base_config)
    spent = perf_counter() - begun
    pairs = _pairs(base, rest, seed)
    config = _config(told["refine"], seed, device)
    before: dict[str, NDArray[np.float64]] = {}
    for row in _ordered(table.rows):
        begun = perf_counter()
        network, made = deepcopy(base), None
        if row.method.objective:
            made = _objective(row, pairs)
            train(network, made, rest, few, config)
        seconds = (perf_counter() - begun) if row.method.objective else spent
        figures, energies = _judged(network, test, seed)
        if row.settings.get("arm") == "continued":
            before["continued"] = energies
        if "continued" in before and made is not None:
            figures["energy_gain"] = _gain(energies, before["continued"], seed)
        cell = {
            "task": "cxr, four classes",
            "method": row.name,
            "seed": seed,
            "recipe": {"settings": dict(told), "config": asdict(config),
                       "objective": row.method.objective, "options": dict(row.method.options),
                       "arm": row.settings.get("arm", ""), "rows": [len(first), len(rest)]},
            "seconds": round(seconds, 2),
            **figures,
        }  # fmt: skip
        if isinstance(made, ExemplaryLearning) and made.good and made.bad:
            cell["exemplars"] = _told(base, rest, made)
        if row in rows:
            yield row, cell


def _drawn(rows: ImageSet, first: int, refine: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Return rows of the first training, and others with lungs marked for the refinement."""
    order = np.random.default_rng([seed, 21]).permutation(len(rows))
    marked = order[rows.known[order]]
    chosen = np.sort(marked[:refine])
    rest = order[~np.isin(order, chosen)]
    return rows.take(np.sort(rest[:first])), rows.take(chosen)


def _config(told: Mapping[str, Any], seed: int, device: str) -> TrainingConfig:
    return TrainingConfig(
        epochs=told["epochs"],
        batch_size=16,
        learning_rate=told["rate"],
        schedule=told.get("schedule", "constant"),
        criterion="last",
        freeze_batchnorm=True,
        seed=seed,
        device=device,
        evaluation_batch=64,
    )


def _pairs(base: Classifier, rows: ImageSet, seed: int) -> Mapping[str, tuple[Any, Any]]:
    """Return the exemplars of every arm."""
    candidates = ranked(base, rows, size=32)
    good, bad = by_recall(candidates)
    draw = np.random.default_rng([seed, 22]).choice(len(candidates), 2, replace=False)
    return {
        "recall": (good, bad),
        "exchanged": (bad, good),
        "random": (candidates[draw[0]], candidates[draw[1]]),
    }


def _objective(row: Row, pairs: Mapping[str, tuple[Any, Any]]) -> Objective:
    if row.method.objective == _CONTINUED:
        return ERM()
    good, bad = pairs[row.settings["arm"]]
    return ExemplaryLearning(**row.method.options, good=good, bad=bad)


def _ordered(rows: Sequence[Row]) -> list[Row]:
    """Return the continued training first: the others are compared with it."""
    return sorted(rows, key=lambda row: row.settings.get("arm") != "continued")


def _told(base: Classifier, rows: ImageSet, made: ExemplaryLearning) -> dict[str, Any]:
    """Return which exemplars there were, and how much the hinge moved at first."""
    if made.good is None or made.bad is None:
        return {}
    from_where = active(base, rows, made.good, made.bad, size=32)
    return {
        "good": [made.good.identifier, round(made.good.recall, 4)],
        "bad": [made.bad.identifier, round(made.bad.recall, 4)],
        "margin": round(made.in_force, 4),
        "active_at_first": round(float((from_where < made.in_force).mean()), 4),
        "active_at_margin_0.1": round(float((from_where < 0.1).mean()), 4),
    }


def _judged(
    network: Classifier, rows: ImageSet, seed: int
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Return the figures on a set, and each image's share of the evidence in the lungs."""
    device = next(network.parameters()).device
    recalls, means, energies, areas = [], [], [], []
    with evaluation_mode(network):
        for batch in batches(rows, 32, order=np.flatnonzero(rows.known).astype(np.int64)):
            here = batch.on(device)
            cam = gradcam(network, here.images, here.labels).attribution.detach()
            heat = heatmap(cam)
            lungs = fit_mask(here.relevant, (cam.shape[1], cam.shape[2]))
            area = lungs.mean((1, 2))
            total = heat.sum((1, 2))
            shares = torch.where(total > 0, (heat * lungs).sum((1, 2)) / total, area)
            recalls.append(((heat * lungs).sum((1, 2)) / lungs.sum((1, 2))).cpu().numpy())
            means.append(heat.mean((1, 2)).cpu().numpy())
            energies.append(shares.cpu().double().numpy())
            areas.append(area.cpu().numpy())
    recall, mean, energy, area = (
        np.concatenate(each).astype(np.float64) for each in (recalls, means, energies, areas)
    )
    found = answers(network, rows, 64)
    figures = {
        "accuracy": round(float(found.correct.mean()), 4),
        "worst_class": round(worst(found.correct, found.labels), 4),
        "recall": round(float(recall.mean()), 4),
        "recall_less_mean": round(float((recall - mean).mean()), 4),
        "energy": round(float(energy.mean()), 4),
        "energy_over_chance": round(float(energy.mean() / area.mean()), 4),
        "flips": _flips(network, rows, seed),
    }
    return figures, energy


def _flips(network: Classifier, rows: ImageSet, seed: int) -> float:
    """Return how many right answers change with the surroundings of an image of another class."""
    own = answers(network, rows, 64)
    draw = np.random.default_rng([seed, 23])
    donors = np.array([draw.choice(np.flatnonzero(rows.labels != label)) for label in rows.labels])
    lungs = rows.masks(np.arange(len(rows)))[0]
    swapped = np.where(lungs[..., None], rows.images, rows.images[donors])
    after = answers(network, replace(rows, images=swapped), 64)
    changed = own.logits.argmax(axis=1) != after.logits.argmax(axis=1)
    kept = own.correct & rows.known
    return round(float(changed[kept].mean()), 4)


def _gain(after: NDArray[np.float64], before: NDArray[np.float64], seed: int) -> dict[str, float]:
    """Return the mean gain of energy and its paired bootstrap interval over images."""
    gains = after - before
    draw = np.random.default_rng([seed, 24])
    means = gains[draw.integers(0, len(gains), (_DRAWS, len(gains)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {
        "mean": round(float(gains.mean()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }
