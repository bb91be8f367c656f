"""How much an explanation counts: the options of an objective by which it is tuned.

weight      λ of an explanation loss, times the loss
gradient    λ of the gradient penalty beside a robust loss
radius      ε, how far masked pixels are moved, on pixels in [0, 1]
"""

from collections.abc import Collection, Mapping
from math import log

LIMITS: Mapping[str, tuple[float, float]] = {
    "weight": (1e-2, 1e4),
    "gradient": (1e-2, 1e3),
    "radius": (1e-2, 1.0),
}
"""Between which values a search draws, evenly by their logarithm."""


def searched(names: Collection[str]) -> tuple[str, ...]:
    """Return which of an objective's options a search draws."""
    return tuple(name for name in LIMITS if name in names)


def balanced(names: Collection[str]) -> str | None:
    """Return which option the ratio rule finds: a factor of a loss term; None without one."""
    return next((name for name in ("weight", "gradient") if name in names), None)


def strength(options: Mapping[str, float]) -> float:
    """Return how far up in their limits the tuned options stand, 0 to 1; the mean of several."""
    places = []
    for name in searched(options):
        low, high = LIMITS[name]
        places.append(log(float(options[name]) / low) / log(high / low))
    return sum(places) / len(places)
