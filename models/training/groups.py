"""Rivals that know groups instead of regions: JTT and DFR (GroupDRO is an objective of its own).

References:
    Liu et al. (2021), Just train twice: improving group robustness without training group
    information, arXiv:2107.09044. Kirichenko, Izmailov, Wilson (2023), Last layer re-training is
    sufficient for robustness to spurious correlations, arXiv:2204.02937.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.architectures import Classifier
from models.errors import TrainingError
from models.modes import evaluation_mode
from models.training.batches import batches
from models.training.distillation import last_layer
from models.training.image_sets import ImageSet
from models.training.objectives import ERM, Reweighted
from models.training.optimizers import TrainingConfig
from models.training.scores import answers
from models.training.stages import Stages
from models.training.trainer import TrainingResult

_STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)


def just_train_twice(
    build: Callable[[], Classifier],
    training: ImageSet,
    validation: ImageSet,
    config: TrainingConfig,
    *,
    first_epochs: int = 1,
    upweight: float = 50.0,
    stages: Stages | None = None,
) -> tuple[Classifier, TrainingResult]:
    """Train briefly, then anew with the first classifier's training errors weighted up.

    Args:
        build: Returns a fresh classifier.
        training: Rows to learn from.
        validation: Rows that choose the epoch of the second training.
        config: How to train.
        first_epochs: T, epochs of the first training.
        upweight: Weight of the rows that it gets wrong.
        stages: How the two trainings, "first" and "second", are watched.

    Returns:
        The second classifier and how its training went; the first ones where that was cancelled.
    """
    watched = stages or Stages()
    first = build()
    brief = replace(config, epochs=first_epochs, criterion="last")
    result = watched.train(
        "first", first, ERM(), training=training, validation=validation, config=brief
    )
    if result.cancelled:
        return first, result
    wrong = ~answers(first, training).correct
    weights = torch.from_numpy(np.where(wrong, upweight, 1.0).astype(np.float32))
    second = build()
    return second, watched.train(
        "second",
        second,
        Reweighted(weights),
        training=training,
        validation=validation,
        config=config,
    )


def refit_last_layer(
    classifier: Classifier,
    held_out: ImageSet,
    *,
    fits: int = 20,
    seed: int = 0,
    strengths: Sequence[float] = _STRENGTHS,
) -> float:
    """Replace the last layer by logistic regressions on group-balanced held-out rows (DFR).

    Features are standardised; the L1 strength is chosen on half of the rows by worst-group
    accuracy, then `fits` regressions on random balanced subsets are averaged.

    Args:
        classifier: Trained; its last layer is changed in place.
        held_out: Rows with groups that the features were not trained on.
        fits: How many regressions are averaged.
        seed: Fixes the subsets.
        strengths: Inverse regularisation strengths to choose among.

    Returns:
        The chosen strength C.

    Raises:
        TrainingError: If there are fewer than two groups, so that nothing can be balanced.
    """
    if len(np.unique(held_out.subpopulations)) < 2:  # noqa: PLR2004  # balancing needs two
        raise TrainingError("DFR balances groups, but the held-out rows have only one")
    embedded = _embeddings(classifier, held_out)
    mean, scale = embedded.mean(axis=0), embedded.std(axis=0) + 1e-8
    features = (embedded - mean) / scale
    draw = np.random.default_rng([seed, 11])
    chosen = _strength(features, held_out, strengths, draw)
    classes = len(held_out.classes)
    weight = np.zeros((classes, features.shape[1]))
    bias = np.zeros(classes)
    for _ in range(fits):
        rows = _balanced(held_out.subpopulations, draw)
        each_weight, each_bias = _fit(features[rows], held_out.labels[rows], chosen, classes)
        weight += each_weight / fits
        bias += each_bias / fits
    layer = last_layer(classifier)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight / scale))
        if layer.bias is not None:
            layer.bias.copy_(torch.from_numpy(bias - weight @ (mean / scale)))
    return chosen


def _embeddings(classifier: Classifier, rows: ImageSet) -> NDArray[np.float64]:
    """Return the input of the last layer, float64 [M, D]."""
    device = next(classifier.parameters()).device
    with evaluation_mode(classifier), torch.no_grad():
        parts = [
            classifier.trace(batch.images.to(device)).embedding.double().cpu().numpy()
            for batch in batches(rows, 256)
        ]
    return np.concatenate(parts)


def _balanced(groups: NDArray[np.int64], draw: np.random.Generator) -> NDArray[np.int64]:
    """Return rows with as many of each group as the smallest has."""
    present = np.unique(groups)
    smallest = min(int((groups == each).sum()) for each in present)
    chosen = [draw.permutation(np.flatnonzero(groups == each))[:smallest] for each in present]
    return np.concatenate(chosen)


def _strength(
    features: NDArray[np.float64],
    rows: ImageSet,
    strengths: Sequence[float],
    draw: np.random.Generator,
) -> float:
    """Return the strength with the best worst-group accuracy on half of the rows."""
    order = draw.permutation(len(rows))
    fit, judge = order[: len(order) // 2], order[len(order) // 2 :]
    groups, labels = rows.subpopulations, rows.labels
    best, best_value = strengths[0], -1.0
    balanced = fit[_balanced(groups[fit], draw)]
    for strength in strengths:
        weight, bias = _fit(features[balanced], labels[balanced], strength, len(rows.classes))
        right = (features[judge] @ weight.T + bias).argmax(axis=1) == labels[judge]
        value = min(
            float(right[groups[judge] == each].mean()) for each in np.unique(groups[judge])
        )
        if value > best_value:
            best, best_value = strength, value
    return best


def _fit(
    features: NDArray[np.float64], labels: NDArray[np.int64], strength: float, classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights [K, D] and biases [K] of L1 logistic regressions, each class against all."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  # heavy, wanted here only

    weight, bias = np.zeros((classes, features.shape[1])), np.full(classes, -1e3)
    for label in np.unique(labels):
        model = LogisticRegression(C=strength, l1_ratio=1.0, solver="liblinear", max_iter=1000)
        model.fit(features, labels == label)
        weight[label], bias[label] = model.coef_[0], model.intercept_[0]
    return weight, bias
