"""Estimates with the interval that says how much they rest on."""

import math
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, and the range in which the truth lies at the stated level.

    Attributes:
        value: The point estimate.
        low: Lower end of the interval.
        high: Upper end of the interval.
        observations: How many observations it rests on.
        level: Confidence level of the interval, for example 0.95.
    """

    value: float
    low: float
    high: float
    observations: int
    level: float


def wilson(successes: float, observations: int, *, level: float = 0.95) -> Estimate:
    """Return a share with Wilson's score interval.

    Holds its level near 0 and 1 and for few observations, where the textbook interval collapses.
    `successes` may be a sum of shares in [0, 1]: they vary less than successes, so it is wide
    enough.

    Raises:
        ValueError: If there is no observation, or more successes than observations.

    References:
        Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    """
    if not 0 <= successes <= observations or observations < 1:
        raise ValueError(f"{successes} successes in {observations} observations")
    z = _quantile(level)
    share = successes / observations
    shrink = 1.0 + z * z / observations
    centre = (share + z * z / (2 * observations)) / shrink
    spread = share * (1 - share) / observations + (z / (2 * observations)) ** 2
    half = z * math.sqrt(spread) / shrink
    return Estimate(
        value=share,
        # Exact at the ends, where rounding would leave the share outside its own interval.
        low=0.0 if successes == 0 else centre - half,
        high=1.0 if successes == observations else centre + half,
        observations=observations,
        level=level,
    )


def normal(value: float, standard_error: float, observations: int, *, level: float) -> Estimate:
    """Return `value` with the interval of a normal approximation."""
    half = _quantile(level) * standard_error
    return Estimate(value, value - half, value + half, observations, level)


def _quantile(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level {level}; it must lie between 0 and 1")
    return NormalDist().inv_cdf((1 + level) / 2)
