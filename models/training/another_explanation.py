"""Find another explanation: retrain until other evidence is used, without any annotation.

References:
    Ross, Hughes, Doshi-Velez (2017), Right for the Right Reasons, section 3 and algorithm in 4.3;
    the cut of 0.67 of each example's largest gradient magnitude is theirs. They look at the
    curve of accuracies to see when to end; the two numbers of `find_another_explanation` that
    end the rounds are ours.
"""

from collections.abc import Callable, Sequence
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
from models.training.scores import answers
from models.training.stages import Stages
from models.training.trainer import TrainingResult


class Round(NamedTuple):
    """One classifier of the sequence.

    Attributes:
        classifier: Trained under the penalty of all rounds before it.
        result: How its training went.
        forbidden: Share of the pixels that were forbidden to it.
        accuracy: Share of the validation rows that it gets right.
        other: Share of the pixels it uses that were not forbidden; 1 in the first round.
    """

    classifier: Classifier
    result: TrainingResult
    forbidden: float
    accuracy: float
    other: float


def find_another_explanation(
    build: Callable[[], Classifier],
    training: ImageSet,
    validation: ImageSet,
    config: TrainingConfig,
    *,
    rounds: int = 3,
    weight: float = 10.0,
    cut: float = 0.67,
    tolerance: float = 0.05,
    least: float = 0.1,
    stages: Stages | None = None,
) -> list[Round]:
    """Train classifiers in turn, each forbidden what those before it used.

    The rounds end early with the first classifier that loses accuracy or that finds no other
    evidence; that classifier is the last of the list, for it shows where the evidence ends.

    Args:
        build: Returns a fresh classifier.
        training: Rows to learn from; their own masks are not used.
        validation: Rows that choose the epoch and tell whether accuracy is lost.
        config: How to train each.
        rounds: How many at most.
        weight: RRR's λ; raise it if explanations do not change.
        cut: Share of an example's largest magnitude above which a pixel counts as used.
        tolerance: Accuracy that a round may lose against the first before the rounds end.
        least: Share of a round's used pixels that must be other ones, or the rounds end.
        stages: How the trainings, "round 1" and so on, are watched.
    """
    watched = stages or Stages()
    used = np.zeros(training.images.shape[:3], bool)
    found: list[Round] = []
    for number in range(1, rounds + 1):
        classifier = build()
        rows = replace(
            training,
            relevant=None,
            irrelevant=used.copy(),
            annotated=np.array([bool(each.any()) for each in used]),
        )
        result = watched.train(
            f"round {number}",
            classifier,
            RRR(weight=weight),
            training=rows,
            validation=validation,
            config=config,
        )
        marks = used_pixels(classifier, training, cut=cut)
        right = float(answers(classifier, validation).correct.mean())
        other = float((marks & ~used).sum() / max(marks.sum(), 1))
        found.append(Round(classifier, result, float(used.mean()), right, other))
        if result.cancelled or right < found[0].accuracy - tolerance or other < least:
            break
        used |= marks
    return found


def last_accurate(found: Sequence[Round], *, tolerance: float = 0.05) -> int:
    """Return the position of the last round that lost at most `tolerance` of the accuracy."""
    least = found[0].accuracy - tolerance
    return max(place for place, each in enumerate(found) if each.accuracy >= least)


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
