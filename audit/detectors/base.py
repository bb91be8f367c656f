"""What every detector answers to: `update` and `drift_detected`, and a level in between."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol, Self, TypeAlias

JSON: TypeAlias = "Mapping[str, JSON] | list[JSON] | str | float | int | None"


class Level(StrEnum):
    """How far the evidence has come.

    A warning may pass again; an alarm stays until a person deals with it.
    """

    OK = "ok"
    WARNING = "warning"
    ALARM = "alarm"


class Detector(Protocol):
    """Watches one stream of numbers for a lasting change to the worse.

    An alarm is latched: once `drift_detected`, always so. A detector never takes the broken state
    for its new reference; to watch afresh, make a new one, on the record.
    """

    def update(self, x: float) -> None:
        """Take the next observation, in the order of arrival.

        Raises:
            ObservationError: If `x` lies outside the range that the detector is built for. The
                detector is then as before.
        """

    @property
    def drift_detected(self) -> bool:
        """Whether the threshold has been reached, now or earlier."""

    @property
    def level(self) -> Level:
        """Ok, warning, or alarm."""

    @property
    def statistic(self) -> float:
        """The evidence now; comparable with `threshold`."""

    @property
    def threshold(self) -> float:
        """The evidence at which an alarm is raised."""

    @property
    def observations(self) -> int:
        """How many observations were taken."""

    @property
    def alarmed_at(self) -> int | None:
        """The count of observations at the alarm, or None if there is none."""

    def state(self) -> Mapping[str, JSON]:
        """Return everything needed to go on later; survives JSON bit by bit."""

    @classmethod
    def from_state(cls, state: Mapping[str, JSON]) -> Self:
        """Return a detector that goes on exactly where `state` was taken.

        Raises:
            DetectorStateError: If the state is not one of this detector.
        """
