"""What a reviewer sees next, and how to read the verdicts without the bias of that choice.

Every record has a known probability of entering the queue. A random share enters whatever it looks
like: the random stratum, the only one that feeds alarms. The rest enters by what a review would
teach: the chosen stratum. Weighting each verdict by one over its probability undoes the choice.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from audit import intervals
from audit.intervals import Estimate

Stratum: TypeAlias = Literal["random", "chosen"]
FRACTION_BITS = 53


@dataclass(frozen=True, slots=True)
class Interest:
    """Why a review of a record would teach something; each part in [0, 1], shown to the reviewer.

    Attributes:
        uncertainty: Entropy of the class probabilities over its maximum.
        outside: Share of the evidence outside the region; 0 where there is no region.
        flip: Share of the interventions that changed the answer; 0 where none was made.
        strangeness: One less the p value of the embedding.
        rarity: How rare the decided class is among recent records.
        disagreement: Share of explainers or models that answer otherwise.
    """

    uncertainty: float = 0.0
    outside: float = 0.0
    flip: float = 0.0
    strangeness: float = 0.0
    rarity: float = 0.0
    disagreement: float = 0.0


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part of the interest counts; not negative, not all 0."""

    uncertainty: float = 1.0
    outside: float = 2.0
    flip: float = 3.0
    strangeness: float = 1.0
    rarity: float = 1.0
    disagreement: float = 1.0


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether a record enters the queue, and how likely that was.

    Attributes:
        stratum: "random" or "chosen", or None when it does not enter.
        inclusion: Probability with which a record like this enters, by either way, in (0, 1].
        score: Its priority within the queue, in [0, 1].
    """

    stratum: Stratum | None
    inclusion: float
    score: float


@dataclass(frozen=True, slots=True)
class QueuePlan:
    """How many records enter the queue, and by which way.

    Attributes:
        random_share: Probability of the random stratum for every record, in (0, 1].
        chosen_share: Probability of the chosen stratum for a record of score 1, in [0, 1].
        sharpness: How fast that probability falls with the score; it is score ** sharpness.
        weights: How the parts of the interest are weighed.
    """

    random_share: float = 0.02
    chosen_share: float = 0.5
    sharpness: float = 4.0
    weights: Weights = Weights()

    def __post_init__(self) -> None:
        if not (0.0 < self.random_share <= 1.0 and 0.0 <= self.chosen_share <= 1.0):
            raise ValueError(
                f"random share {self.random_share} in (0, 1], chosen share {self.chosen_share} "
                "in [0, 1]; without a random share the verdicts cannot be weighted"
            )
        if not self.sharpness > 0.0:
            raise ValueError(f"sharpness {self.sharpness}; it must be above 0")


def uncertainty(probabilities: NDArray[np.floating]) -> float:
    """Return the entropy of class probabilities over its maximum, in [0, 1]."""
    positive = np.asarray(probabilities, np.float64)
    positive = positive[positive > 0.0]
    if np.size(probabilities) < 2 or positive.size == 0:  # noqa: PLR2004 - nothing to choose from
        return 0.0
    entropy = float(-(positive * np.log(positive)).sum() / math.log(np.size(probabilities)))
    return min(1.0, max(0.0, entropy))


def rarity(label: str, counts: Mapping[str, int]) -> float:
    """Return how rare `label` is: 1 - its count over the commonest class's, in [0, 1]."""
    commonest = max(counts.values(), default=0)
    return 1.0 - counts.get(label, 0) / commonest if commonest else 1.0


def score(interest: Interest, weights: Weights) -> float:
    """Return the weighted mean of the parts, in [0, 1]: the priority within the queue."""
    total = weighted = 0.0
    for name in Interest.__slots__:
        weight = getattr(weights, name)
        total += weight
        weighted += weight * min(1.0, max(0.0, getattr(interest, name)))
    return weighted / total


def choose(record_id: str, interest: Interest, plan: QueuePlan, *, key: bytes) -> Choice:
    """Choose whether a record enters the queue; the same record and key, the same choice.

    Args:
        record_id: The record's id; the draw depends on nothing else, so that it can be repeated.
        interest: What a review would teach.
        plan: How many enter.
        key: Secret of the deployment, at most 64 bytes: who knows it can avoid reviews.
    """
    priority = score(interest, plan.weights)
    chosen = plan.chosen_share * priority**plan.sharpness
    inclusion = plan.random_share + (1.0 - plan.random_share) * chosen
    first, second = _draws(record_id, key)
    stratum: Stratum | None = None
    if first < plan.random_share:
        stratum = "random"
    elif second < chosen:
        stratum = "chosen"
    return Choice(stratum, inclusion, priority)


def weighted_mean(
    values: Sequence[float] | NDArray[np.floating],
    inclusion: Sequence[float] | NDArray[np.floating],
    *,
    level: float = 0.95,
) -> Estimate:
    """Return the mean over all records, estimated from the reviewed ones.

    Each value counts for one over the probability of its review. The interval is that of the ratio
    of two weighted sums, linearised.

    Args:
        values: What the reviews found.
        inclusion: The inclusion probability of each, in (0, 1].
        level: Confidence level.

    Raises:
        ValueError: If there is no value, or a probability lies outside (0, 1].

    References:
        Hájek (1971), comment on "An essay on the logical foundations of survey sampling";
        Särndal, Swensson, Wretman (1992), "Model Assisted Survey Sampling", section 5.7.
    """
    sample = np.asarray(values, np.float64).ravel()
    probability = np.asarray(inclusion, np.float64).ravel()
    if sample.size == 0 or sample.shape != probability.shape:
        raise ValueError(f"{sample.size} values with {probability.size} inclusion probabilities")
    if not (probability.min() > 0.0 and probability.max() <= 1.0):
        raise ValueError("an inclusion probability lies outside (0, 1]")
    weights = 1.0 / probability
    mean = float((weights * sample).sum() / weights.sum())
    residuals = weights * (sample - mean)
    variance = float(((1.0 - probability) * residuals**2).sum())
    return intervals.normal(
        mean, math.sqrt(variance) / float(weights.sum()), sample.size, level=level
    )


def _draws(record_id: str, key: bytes) -> tuple[float, float]:
    """Return two independent uniform numbers in [0, 1) that only the key's holder can foresee."""
    digest = hashlib.blake2b(record_id.encode(), key=key, digest_size=16).digest()
    scale = 2.0**-FRACTION_BITS
    halves = (int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big"))
    first, second = ((half >> (64 - FRACTION_BITS)) * scale for half in halves)
    return first, second
