"""Seeded streams of activation recall, [replicates, time]: Beta, optionally autocorrelated."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

MEAN = 0.6
CONCENTRATION = 10.0
REFERENCE = 1000
CHANGE = 1000
COLLAPSED = 0.05

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to the stream at observation `CHANGE`.

    Attributes:
        name: Column of the table.
        mean: Mean after the change, per observation since the change.
        collapsed: Share of the traffic that collapses to a mean of 0.05 afterwards.
        from_start: Whether the change is there from the first observation.
    """

    name: str
    mean: Callable[[Floats], Floats]
    collapsed: float = 0.0
    from_start: bool = False


def falls(by: float) -> Change:
    """Return a sudden fall of the mean."""
    return Change(f"-{by:.2f}", lambda since: np.full_like(since, MEAN - by))


CHANGES = (
    falls(0.05),
    falls(0.10),
    falls(0.20),
    Change("collapse 10%", lambda since: np.full_like(since, MEAN), collapsed=0.1),
    Change("day one", lambda since: np.full_like(since, 0.45), from_start=True),
    Change("slow", lambda since: MEAN - 0.15 * np.minimum(since / 20_000, 1.0)),
)


def uniforms(rng: np.random.Generator, shape: tuple[int, int], autocorrelation: float) -> Floats:
    """Return uniform numbers whose normal scores are autoregressive of order one along time."""
    if autocorrelation == 0.0:
        return rng.random(shape)
    noise = rng.standard_normal(shape)
    scores = np.empty(shape)
    scores[:, 0] = noise[:, 0]
    fresh = np.sqrt(1.0 - autocorrelation**2)
    for t in range(1, shape[1]):
        scores[:, t] = autocorrelation * scores[:, t - 1] + fresh * noise[:, t]
    return special.ndtr(scores)


def recall(uniform: Floats, mean: Floats | float) -> Floats:
    """Return Activation Recall with the given mean: Beta with concentration 10."""
    a = np.broadcast_to(CONCENTRATION * np.asarray(mean), uniform.shape)
    return np.asarray(stats.beta.ppf(uniform, a, CONCENTRATION - a), np.float64)


def reference(rng: np.random.Generator, replicates: int, size: int = REFERENCE) -> Floats:
    """Return one fresh reference set per replicate: its error is part of the false-alarm rate."""
    return rng.beta(CONCENTRATION * MEAN, CONCENTRATION * (1 - MEAN), (replicates, size))


def null(
    rng: np.random.Generator, replicates: int, length: int, autocorrelation: float = 0.0
) -> Floats:
    """Return streams in which nothing changes."""
    if autocorrelation == 0.0:
        return reference(rng, replicates, length)
    return recall(uniforms(rng, (replicates, length), autocorrelation), MEAN)


def daily(rng: np.random.Generator, replicates: int, length: int) -> Floats:
    """Return streams whose mean goes up and down by 0.04 in every 1,000 observations."""
    mean = MEAN + 0.04 * np.sin(2 * np.pi * np.arange(length) / 1000)
    return rng.beta(CONCENTRATION * mean, CONCENTRATION * (1 - mean), (replicates, length))


def changed(rng: np.random.Generator, change: Change, replicates: int, horizon: int) -> Floats:
    """Return streams that are well for `CHANGE` observations (or none), then changed."""
    mean = change.mean(np.arange(horizon, dtype=np.float64))
    after = rng.beta(CONCENTRATION * mean, CONCENTRATION * (1 - mean), (replicates, horizon))
    if change.collapsed:
        low = rng.beta(
            CONCENTRATION * COLLAPSED, CONCENTRATION * (1 - COLLAPSED), (replicates, horizon)
        )
        after = np.where(rng.random((replicates, horizon)) < change.collapsed, low, after)
    if change.from_start:
        return after
    return np.concatenate([null(rng, replicates, CHANGE), after], axis=1)
