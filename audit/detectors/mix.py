"""Does the mix of decided classes change? A detector over labels, not numbers."""

import math
from collections.abc import Mapping
from typing import Final

from audit.detectors.base import Level
from audit.detectors.latch import WARNING_SHARE, Latch
from audit.errors import BaselineError, ObservationError

# How many observations back the bets on the new mix remember, a fast and a slow one.
MEMORIES: Final = (50, 500)
# A class may be more frequent than its reference by this share; it also bears the error of an
# estimated reference.
TOLERANCE: Final = 0.05
# Strength of the reference in the bet on the new mix, in observations.
_PRIOR: Final = 20.0
_HIGHEST: Final = 1e300


class ClassMix:
    """Finds a lasting change of how often each class is decided.

    Each observation is betted on: the share that its class has had lately, over the share that the
    reference gives it. The mean number of observations before a false alarm is at least
    `threshold` as long as no class, given the past, is more probable than `1 + tolerance` times
    its reference share. With a reference that is itself estimated from n observations of K classes
    the bets still lose on average while (K - 1) / 2n is well below the tolerance, which is what
    is asked for here.

    Attributes:
        shares: Class → share in the reference; they sum to 1.

    References:
        Shin, Ramdas, Rinaldo (2024), "E-detectors: a nonparametric framework for sequential change
        detection", the e-SR detector; the bet is a Dirichlet plug-in with forgetting.

    >>> detector = ClassMix({"cat": 90, "dog": 110}, threshold=1000)
    >>> for number in range(200):
    ...     detector.update("cat" if number % 10 else "dog")
    >>> detector.level.value, detector.alarmed_at
    ('alarm', 28)
    """

    def __init__(
        self, counts: Mapping[str, float], *, threshold: float, tolerance: float = TOLERANCE
    ) -> None:
        """Take the reference.

        Args:
            counts: Every class of the model → how often it was decided in the reference.
            threshold: Mean number of observations to a false alarm, at least 1.
            tolerance: See above, above 0.

        Raises:
            BaselineError: If there are fewer than two classes, or too few observations for them.
        """
        total, classes = sum(counts.values()), len(counts)
        if classes < 2 or not threshold >= 1.0 or not tolerance > 0.0:  # noqa: PLR2004 - a mix
            raise BaselineError(
                f"a mix has at least 2 classes (given {classes}), a threshold of at least 1 "
                f"({threshold}) and a tolerance above 0 ({tolerance})"
            )
        needed = math.ceil((classes - 1) / math.log1p(tolerance))
        if total < needed:
            raise BaselineError(
                f"the mix of {classes} classes needs a reference of {needed} observations, "
                f"there are {total:.0f}"
            )
        whole = total + classes / 2.0
        self.shares = {label: (count + 0.5) / whole for label, count in counts.items()}
        self._edge = 1.0 + tolerance
        self._lately = [dict.fromkeys(counts, 0.0) for _ in MEMORIES]
        self._weights = [0.0 for _ in MEMORIES]
        self._wealth = [0.0 for _ in MEMORIES]
        self._latch = Latch(threshold=float(threshold), warning=WARNING_SHARE * threshold)

    def update(self, label: str) -> None:
        """Take the next decided class, in the order of the answers.

        Raises:
            ObservationError: If the reference does not know the class.
        """
        if label not in self.shares:
            raise ObservationError(f"{label!r} is none of the {len(self.shares)} classes")
        expected = self.shares[label]
        for number, memory in enumerate(MEMORIES):
            lately = self._lately[number]
            betted = (_PRIOR * expected + lately[label]) / (_PRIOR + self._weights[number])
            gain = betted / (self._edge * expected)
            self._wealth[number] = min(_HIGHEST, (self._wealth[number] + 1.0) * gain)
            kept = 1.0 - 1.0 / memory
            for each in lately:
                lately[each] *= kept
            lately[label] += 1.0
            self._weights[number] = self._weights[number] * kept + 1.0
        self._latch.take(self.statistic)

    @property
    def statistic(self) -> float:
        """The evidence now; comparable with `threshold`."""
        return sum(self._wealth) / len(self._wealth)

    @property
    def threshold(self) -> float:
        """The evidence at which the mix counts as changed."""
        return self._latch.threshold

    @property
    def level(self) -> Level:
        """Ok, warning, or alarm; an alarm stays."""
        return self._latch.level(self.statistic)

    @property
    def observations(self) -> int:
        """How many observations were taken."""
        return self._latch.observations

    @property
    def alarmed_at(self) -> int | None:
        """The count of observations at the alarm, or None."""
        return self._latch.alarmed_at
