"""Bootstrap intervals that draw whole subjects: images of one subject are not independent."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from audit.intervals import Estimate

RESAMPLES = 1000

Statistic = Callable[[NDArray[np.int64]], float]
"""Turns how often each row was drawn [N] into a value, NaN where it is not defined."""


def weights(
    rows: int, subjects: Sequence[str] | None, *, seed: int, resamples: int = RESAMPLES
) -> NDArray[np.int64]:
    """Return how often each row is drawn in each resample, int64 [resamples, rows].

    Args:
        rows: How many rows there are.
        subjects: Whom each row shows; None or "" makes a row its own subject.
        seed: Of the draws.
        resamples: How many.

    References:
        Davison, Hinkley (1997), "Bootstrap methods and their application", section 3.8: the
        bootstrap of clusters.
    """
    names = [""] * rows if subjects is None else list(subjects)
    keys = [name or f"\0{row}" for row, name in enumerate(names)]
    index = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    cluster = np.array([index[key] for key in keys], np.int64)
    draw = np.random.default_rng(seed)
    count = len(index)
    drawn = draw.multinomial(count, np.full(count, 1 / count), size=resamples)
    return drawn[:, cluster].astype(np.int64)


def estimate(
    statistic: Statistic, drawn: NDArray[np.int64], *, level: float, observations: int
) -> Estimate:
    """Return a statistic with its percentile interval; resamples without a value are left out.

    Args:
        statistic: What is estimated.
        drawn: Resamples, as `weights` returns them.
        level: Confidence level.
        observations: How many observations it rests on.
    """
    value = statistic(np.ones(drawn.shape[1], np.int64))
    spread = np.array([statistic(each) for each in drawn])
    spread = spread[np.isfinite(spread)]
    tail = (1 - level) / 2
    low, high = np.quantile(spread, [tail, 1 - tail]) if spread.size else (value, value)
    return Estimate(value, float(low), float(high), observations, level)


def mean_of(values: NDArray[np.floating] | NDArray[np.bool_]) -> Statistic:
    """Return the weighted mean of fixed values."""
    numbers = values.astype(np.float64)

    def statistic(times: NDArray[np.int64]) -> float:
        total = times.sum()
        return float((times * numbers).sum() / total) if total else float("nan")

    return statistic


def worst_of(correct: NDArray[np.bool_], groups: NDArray[np.int64]) -> Statistic:
    """Return the lowest weighted accuracy of a group."""
    size = int(groups.max()) + 1
    right = correct.astype(np.float64)
    present = np.bincount(groups, minlength=size) > 0

    def statistic(times: NDArray[np.int64]) -> float:
        drawn = np.bincount(groups, weights=times, minlength=size)
        hits = np.bincount(groups, weights=times * right, minlength=size)
        if (drawn[present] == 0).any():
            return float("nan")  # a resample that lost a group says nothing about the worst
        return float((hits[present] / drawn[present]).min())

    return statistic
