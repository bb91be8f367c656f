"""What every detector here shares: a threshold that is remembered once it was reached."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from audit.detectors.base import JSON, Level
from audit.detectors.latch import Latch
from audit.detectors.stored import whole


class Latched(ABC):
    """A detector around a latch; `statistic` is its own."""

    def __init__(self, *, threshold: float, warning: float) -> None:
        self._latch = Latch(threshold=float(threshold), warning=float(warning))

    @property
    @abstractmethod
    def statistic(self) -> float:
        """The evidence now; the alarm is raised at `threshold`."""

    @property
    def threshold(self) -> float:
        """The evidence at which an alarm is raised."""
        return self._latch.threshold

    @property
    def drift_detected(self) -> bool:
        """Whether the threshold has been reached, now or earlier."""
        return self._latch.alarmed_at is not None

    @property
    def level(self) -> Level:
        """Alarm at the threshold and ever after; before it a warning or ok, as the evidence is."""
        return self._latch.level(self.statistic)

    @property
    def observations(self) -> int:
        """How many observations were taken."""
        return self._latch.observations

    @property
    def alarmed_at(self) -> int | None:
        """The count of observations at the alarm, or None."""
        return self._latch.alarmed_at

    def _counts(self) -> dict[str, JSON]:
        """Return the latch's part of the state."""
        return {"observations": self.observations, "alarmed_at": self.alarmed_at}

    def _resume(self, state: Mapping[str, JSON], *, of: str) -> None:
        """Go on with the latch's part of a state of the detector `of`.

        Raises:
            DetectorStateError: If the state is not one of this detector.
        """
        self._latch.observations = whole(state, "observations", of=of) or 0
        self._latch.alarmed_at = whole(state, "alarmed_at", of=of)
