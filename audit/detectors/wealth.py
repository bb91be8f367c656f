"""The Shiryaev-Roberts e-process over a mixture of bets: evidence that a promise is broken.

Each bet i has a factor per observation whose mean is at most 1 while all is well. Its wealth
follows W ← factor · (W + 1): at every step it starts once more with a stake of 1, so that a
change found late counts as much as one found early. While all is well the mean wealth minus the
number of observations is a supermartingale, hence the mean number of observations up to the
first time that the mean wealth reaches c is at least c, whatever the distribution (Shin, Ramdas,
Rinaldo 2024, "E-detectors").
"""

from collections.abc import Sequence

# Beyond this multiple of the threshold more evidence says nothing new, and floats would overflow.
CAP = 1e9


def grown(wealth: Sequence[float], factors: Sequence[float], *, threshold: float) -> list[float]:
    """Return the wealth of each bet after one observation, capped far above the threshold."""
    most = CAP * threshold
    return [min(factor * (each + 1.0), most) for each, factor in zip(wealth, factors, strict=True)]


def mean(wealth: Sequence[float]) -> float:
    """Return the mean wealth, added from left to right.

    `sum` of floats compensates rounding in some versions of Python only; a stored statistic must
    be the same in all.
    """
    total = 0.0
    for each in wealth:
        total += each
    return total / len(wealth)
