"""Remembers that a threshold was reached: an alarm stays."""

from dataclasses import dataclass

from audit.detectors.base import Level

# A warning is raised at this share of the alarm's threshold.
WARNING_SHARE = 0.1


@dataclass(slots=True)
class Latch:
    """Counts observations and holds the first one at which the threshold was reached.

    Attributes:
        threshold: The statistic that raises the alarm.
        warning: The statistic that raises a warning.
        observations: How many were taken.
        alarmed_at: The count at the alarm, or None.
    """

    threshold: float
    warning: float
    observations: int = 0
    alarmed_at: int | None = None

    def take(self, statistic: float) -> None:
        """Count one observation that left the detector at `statistic`."""
        self.observations += 1
        if self.alarmed_at is None and statistic >= self.threshold:
            self.alarmed_at = self.observations

    def level(self, statistic: float) -> Level:
        """Return alarm if it was ever raised, else what `statistic` says now."""
        if self.alarmed_at is not None:
            return Level.ALARM
        return Level.WARNING if statistic >= self.warning else Level.OK
