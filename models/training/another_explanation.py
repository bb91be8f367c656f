"""Find another explanation: retrain until other evidence is used, without any annotation.

References:
    Ross, Hughes, Doshi-Velez (2017), Right for the Right Reasons, section 3 and algorithm in 4.3;
    the cut of 0.67 of each example's largest gradient magnitude is theirs.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.architectures import Classifier
from models.explainers.input_gradients import input_gradients
from models.modes import evaluation_mode
from models.training.batches import batches
from models.training.image_sets import ImageSet
from models.training.losses.rrr import RRR
from models.training.optimizers import TrainingConfig
from models.training.trainer import TrainingResult, train


class Round(NamedTuple):
    """One classifier of the sequence.

    Attributes:
        classifier: Trained under the penalty of all rounds before it.
        result: How its training went.
        forbidden: Share of the pixels that were forbidden to it.
    """

    classifier: Classifier
    result: TrainingResult
    forbidden: float


def find_another_explanation(
    build: Callable[[], Classifier],
    training: ImageSet,
    validation: ImageSet,
    config: TrainingConfig,
    *,
    rounds: int = 3,
    weight: float = 10.0,
    cut: float = 0.67,
) -> list[Round]:
    """Train classifiers in turn, each forbidden what those before it used.

    Args:
        build: Returns a fresh classifier.
        training: Rows to learn from; their own masks are not used.
        validation: Rows that choose the epoch.
        config: How to train each.
        rounds: How many.
        weight: RRR's λ; raise it if explanations do not change.
        cut: Share of an example's largest magnitude above which a pixel counts as used.
    """
    used = np.zeros(training.images.shape[:3], bool)
    found = []
    for _ in range(rounds):
        classifier = build()
        rows = replace(
            training,
            relevant=None,
            irrelevant=used.copy(),
            annotated=np.array([bool(each.any()) for each in used]),
        )
        result = train(classifier, RRR(weight=weight), rows, validation, config)
        found.append(Round(classifier, result, float(used.mean())))
        used |= used_pixels(classifier, training, cut=cut)
    return found


def used_pixels(
    classifier: Classifier, rows: ImageSet, *, cut: float = 0.67, size: int = 256
) -> NDArray[np.bool_]:
    """Return where the gradient of the largest probability exceeds `cut` of its maximum.

    Returns:
        Bool [M, H, W]; channels count together by their largest magnitude.
    """
    device = next(classifier.parameters()).device
    marks = []
    with evaluation_mode(classifier):
        for batch in batches(rows, size):
            here = batch.on(device)
            gradient = input_gradients(
                classifier, here.images, here.labels, scalar=_log_odds
            ).attribution
            magnitude = gradient.abs().amax(1)
            top = magnitude.amax((1, 2), keepdim=True)
            marks.append(((magnitude > cut * top) & (top > 0)).cpu().numpy())
    return np.concatenate(marks)


def _log_odds(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the log-odds of the largest probability p per image.

    Its gradient is that of p divided by p·(1 - p): the same pattern per image, which a
    saturated p would lose to rounding.
    """
    del targets
    first = logits.argmax(1, keepdim=True)
    others = logits.scatter(1, first, float("-inf")).logsumexp(1)
    return logits.gather(1, first)[:, 0] - others
