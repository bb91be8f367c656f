"""Conformal e-SR: finds when images stop resembling the reference, even a few in a hundred."""

from collections.abc import Mapping
from typing import Self

from audit.detectors import wealth
from audit.detectors.base import JSON
from audit.detectors.latch import WARNING_SHARE
from audit.detectors.latched import Latched
from audit.detectors.stored import number, numbers
from audit.errors import BaselineError, ObservationError

NAME = "conformal-esr/1"
# Powers κ of the calibrators κ p^(κ-1); small ones bet on rare extremes, large ones on a shift.
POWERS = (0.1, 0.2, 0.35, 0.5, 0.7)
# Hedged calibrators (1 - s) + s κ p^(κ-1): they lose almost nothing on ordinary images, so a few
# strangers among hundreds add up. (share s, power κ)
HEDGED = ((0.01, 0.05), (0.03, 0.1), (0.1, 0.2))


class ConformalESR(Latched):
    """Finds p values that are smaller than they should be.

    Fed with one conformal p value per record. The mean number of observations before a false alarm
    is at least `threshold` while the p values are super-uniform given the past; with a fixed
    calibration set that holds on average over calibration sets, hence generous sets and
    thresholds.

    Attributes:
        threshold: Mean run length to a false alarm, in observations, at least.

    References:
        Vovk, Wang (2021), "E-values: calibration, combination and applications", for κ p^(κ-1);
        Shin, Ramdas, Rinaldo (2024), "E-detectors", for the recursion.

    >>> detector = ConformalESR(threshold=1000)
    >>> for _ in range(20):
    ...     detector.update(0.01)
    >>> detector.alarmed_at
    4
    """

    def __init__(self, *, threshold: float) -> None:
        if not threshold >= 1.0:
            raise BaselineError(f"threshold {threshold}; it must be at least 1")
        self._wealth = [0.0] * (len(POWERS) + len(HEDGED))
        super().__init__(threshold=threshold, warning=WARNING_SHARE * threshold)

    def update(self, x: float) -> None:
        """Take the next p value, in (0, 1].

        Raises:
            ObservationError: If `x` lies outside (0, 1] or is not a number.
        """
        if not 0.0 < x <= 1.0:
            raise ObservationError(f"observation {x}; a p value lies in (0, 1]")
        self._wealth = wealth.grown(self._wealth, factors(float(x)), threshold=self.threshold)
        self._latch.take(self.statistic)

    @property
    def statistic(self) -> float:
        """Mean wealth of the bets; the alarm is raised at `threshold`."""
        return wealth.mean(self._wealth)

    def state(self) -> Mapping[str, JSON]:
        """Return everything needed to go on later; survives JSON bit by bit."""
        return {
            "detector": NAME,
            "threshold": self.threshold,
            "wealth": list(self._wealth),
            **self._counts(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, JSON]) -> Self:
        """Return a detector that goes on exactly where `state` was taken.

        Raises:
            DetectorStateError: If the state is not one of this detector.
        """
        detector = cls(threshold=number(state, "threshold", of=NAME))
        detector._wealth = numbers(state, "wealth", of=NAME, count=len(detector._wealth))
        detector._resume(state, of=NAME)
        return detector


def factors(p: float) -> list[float]:
    """Return each bet's factor for the p value `p`; over uniform p values each has mean 1."""
    plain = [power * p ** (power - 1.0) for power in POWERS]
    return plain + [(1.0 - share) + share * power * p ** (power - 1.0) for share, power in HEDGED]
