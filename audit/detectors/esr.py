"""Mixture e-SR: the alarm of the audit, with a run length that holds for any distribution."""

from collections.abc import Mapping
from typing import Self

from audit.detectors import wealth
from audit.detectors.base import JSON
from audit.detectors.latch import WARNING_SHARE
from audit.detectors.latched import Latched
from audit.detectors.reference import Reference
from audit.detectors.stored import number, numbers
from audit.errors import BaselineError, ObservationError

NAME = "mixture-esr/1"
# Each further bet costs evidence at the start; five find falls of 0.1 and 0.2 earlier than eight
# and rare flips as early (`benchmarks/detection.py`).
BETS = 5
# Smallest bet as a share of the largest; between them the bets are spaced geometrically.
SMALLEST = 0.05
# Share of the wealth that the largest bet can lose on one observation.
MOST = 0.95
TOLERANCE = 0.02


class MixtureESR(Latched):
    """Finds a fall of the mean of observations in [0, 1] below what was promised.

    The mean number of observations before a false alarm is at least `threshold` as long as each
    observation, given the past, has a mean of at least `floor`; no matter which distribution.
    For a rise, feed 1 - x.

    Attributes:
        floor: The promised mean, between 0 and 1.
        threshold: Mean run length to a false alarm, in observations, at least.

    References:
        Shin, Ramdas, Rinaldo (2024), "E-detectors: a nonparametric framework for sequential change
        detection"; their m is our `floor`, their lambda our bets.

    >>> detector = MixtureESR(floor=0.5, threshold=1000)
    >>> for _ in range(100):
    ...     detector.update(0.3)
    >>> detector.drift_detected, detector.alarmed_at
    (True, 23)
    """

    def __init__(self, *, floor: float, threshold: float, bets: int = BETS) -> None:
        if not 0.0 < floor < 1.0:
            raise BaselineError(f"floor {floor}; it must lie between 0 and 1")
        if not threshold >= 1.0 or bets < 2:  # noqa: PLR2004 - a mixture
            raise BaselineError(f"threshold {threshold} (at least 1), {bets} bets (at least 2)")
        self.floor = float(floor)
        largest = MOST / (1.0 - floor)
        self._bets = [largest * SMALLEST ** (1.0 - i / (bets - 1)) for i in range(bets)]
        self._wealth = [0.0] * bets
        super().__init__(threshold=threshold, warning=WARNING_SHARE * threshold)

    @classmethod
    def watching(
        cls, reference: Reference, *, threshold: float, tolerance: float = TOLERANCE
    ) -> Self:
        """Return a detector for falls below `reference` by more than `tolerance`.

        The floor is the reference mean less two standard errors (the reference is an estimate)
        less the tolerance: the smallest fall worth an alarm. A tolerance above 0 also keeps
        the promise when neighbouring observations resemble each other.

        Raises:
            BaselineError: If the reference is so low that such a fall cannot happen.
        """
        floor = reference.mean - 2.0 * reference.standard_error - tolerance
        if floor <= 0.0:
            raise BaselineError(
                f"mean {reference.mean:.4f} ± {reference.standard_error:.4f} cannot fall by more "
                f"than {tolerance}; a larger reference or a smaller tolerance could be watched"
            )
        return cls(floor=floor, threshold=threshold)

    def update(self, x: float) -> None:
        """Take the next observation, in [0, 1].

        Raises:
            ObservationError: If `x` lies outside [0, 1] or is not a number.
        """
        if not 0.0 <= x <= 1.0:
            raise ObservationError(f"observation {x}; a bounded measure lies in [0, 1]")
        gap = self.floor - float(x)
        self._wealth = wealth.grown(
            self._wealth, [1.0 + bet * gap for bet in self._bets], threshold=self.threshold
        )
        self._latch.take(self.statistic)

    @property
    def statistic(self) -> float:
        """Mean wealth of the bets; the alarm is raised at `threshold`."""
        return wealth.mean(self._wealth)

    def state(self) -> Mapping[str, JSON]:
        """Return everything needed to go on later; survives JSON bit by bit."""
        return {
            "detector": NAME,
            "floor": self.floor,
            "threshold": self.threshold,
            "bets": list(self._bets),
            "wealth": list(self._wealth),
            **self._counts(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, JSON]) -> Self:
        """Return a detector that goes on exactly where `state` was taken.

        The bets are read, not computed again: another machine's power function may differ in the
        last bit.

        Raises:
            DetectorStateError: If the state is not one of this detector.
        """
        bets = numbers(state, "bets", of=NAME)
        detector = cls(
            floor=number(state, "floor", of=NAME),
            threshold=number(state, "threshold", of=NAME),
            bets=len(bets),
        )
        detector._bets = bets
        detector._wealth = numbers(state, "wealth", of=NAME, count=len(bets))
        detector._resume(state, of=NAME)
        return detector
