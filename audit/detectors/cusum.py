"""CUSUM: drawn and reported beside the alarm; says when the change began and how large it is."""

import math
from collections.abc import Mapping
from typing import Self

from audit.detectors.base import JSON
from audit.detectors.latch import WARNING_SHARE
from audit.detectors.latched import Latched
from audit.detectors.reference import Reference
from audit.detectors.stored import number, whole
from audit.errors import BaselineError, ObservationError

NAME = "cusum/1"
ALLOWANCE = 0.25
# Siegmund's correction for the overshoot over the boundary.
OVERSHOOT = 1.166


class Cusum(Latched):
    """Finds a fall of the mean, in units of the reference's standard deviation.

    S ← max(0, S + (mean - x) / deviation - allowance); the alarm is raised at S ≥ limit. Fast, and
    its start after the last zero estimates when the change began; but its run length assumes
    independent observations near a normal distribution, so it is reported, not relied on.

    Attributes:
        mean: The reference's mean.
        deviation: The reference's standard deviation, above 0.

    References:
        Page (1954), "Continuous inspection schemes"; k is our allowance, h our limit.
    """

    def __init__(self, *, mean: float, deviation: float, limit: float, warning: float) -> None:
        if not (deviation > 0.0 and math.isfinite(mean) and math.isfinite(deviation)):
            raise BaselineError(f"mean {mean}, deviation {deviation}; the latter must be above 0")
        if not limit >= warning > 0.0:
            raise BaselineError(f"limit {limit} and warning {warning}; limit ≥ warning > 0")
        self.mean = float(mean)
        self.deviation = float(deviation)
        self._sum = 0.0
        self._began = 0
        self._since = 0.0
        super().__init__(threshold=limit, warning=warning)

    @classmethod
    def watching(cls, reference: Reference, *, run_length: float) -> Self:
        """Return a detector with about `run_length` observations between false alarms.

        Raises:
            BaselineError: If the reference never varies.
        """
        return cls(
            mean=reference.mean,
            deviation=reference.deviation,
            limit=siegmund_limit(run_length),
            warning=siegmund_limit(max(1.0, WARNING_SHARE * run_length)),
        )

    def update(self, x: float) -> None:
        """Take the next observation, any finite number.

        Raises:
            ObservationError: If `x` is not finite.
        """
        if not math.isfinite(x):
            raise ObservationError(f"observation {x}; it must be a finite number")
        x = float(x)
        self._sum = max(0.0, self._sum + (self.mean - x) / self.deviation - ALLOWANCE)
        if self._sum == 0.0:
            self._began, self._since = self.observations + 1, 0.0
        else:
            self._since += x
        self._latch.take(self._sum)

    @property
    def began_at(self) -> int:
        """Estimate of the change: how many observations were taken before it."""
        return self._began

    @property
    def mean_since(self) -> float | None:
        """Mean of the observations since `began_at`, or None if there are none."""
        count = self.observations - self._began
        return self._since / count if count else None

    @property
    def statistic(self) -> float:
        """The cumulative sum, at least 0; the alarm is raised at `threshold`."""
        return self._sum

    def state(self) -> Mapping[str, JSON]:
        """Return everything needed to go on later; survives JSON bit by bit."""
        return {
            "detector": NAME,
            "mean": self.mean,
            "deviation": self.deviation,
            "limit": self.threshold,
            "warning": self._latch.warning,
            "sum": self._sum,
            "began": self._began,
            "since": self._since,
            **self._counts(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, JSON]) -> Self:
        """Return a detector that goes on exactly where `state` was taken.

        Raises:
            DetectorStateError: If the state is not one of this detector.
        """
        detector = cls(
            mean=number(state, "mean", of=NAME),
            deviation=number(state, "deviation", of=NAME),
            limit=number(state, "limit", of=NAME),
            warning=number(state, "warning", of=NAME),
        )
        detector._sum = number(state, "sum", of=NAME)
        detector._began = whole(state, "began", of=NAME) or 0
        detector._since = number(state, "since", of=NAME)
        detector._resume(state, of=NAME)
        return detector


def siegmund_run_length(limit: float, *, allowance: float = ALLOWANCE) -> float:
    """Return the mean observations to a false alarm of a one-sided CUSUM on normal observations.

    References:
        Siegmund (1985), "Sequential Analysis", ARL = (exp(2kb) - 1 - 2kb) / (2k²), b = h + 1.166.
    """
    exponent = 2.0 * allowance * (limit + OVERSHOOT)
    return (math.expm1(exponent) - exponent) / (2.0 * allowance**2)


def siegmund_limit(run_length: float, *, allowance: float = ALLOWANCE) -> float:
    """Return the smallest limit whose run length is at least `run_length`, by bisection.

    Raises:
        BaselineError: If `run_length` is not a finite number of at least 1.
    """
    if not (math.isfinite(run_length) and run_length >= 1.0):
        raise BaselineError(f"run length {run_length}; it must be finite and at least 1")
    low, high = 0.0, 1.0
    while siegmund_run_length(high, allowance=allowance) < run_length:
        high *= 2.0
    # Doubles between two neighbours are exhausted long before 200 halvings.
    for _ in range(200):
        middle = (low + high) / 2.0
        if siegmund_run_length(middle, allowance=allowance) < run_length:
            low = middle
        else:
            high = middle
    return high
