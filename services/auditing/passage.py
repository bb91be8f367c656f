"""Whether the time of day may be believed: nothing is destroyed because a clock jumped.

A clock that is set 400 days forward for some seconds makes everything look old enough to expire.
So the time of day is compared with a count of seconds that nobody can set, and after every jump,
a start too long after the last entry included, it must go on plausibly for a day before it counts.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

# How far the two may drift apart in an hour: a clock that is being adjusted moves by seconds.
TOLERANCE = timedelta(seconds=60)
HOUR = 3600.0
# An auditor that is back within this may go on where it stopped.
AWAY = timedelta(days=7)
# Two looks at the clock are this far apart before anything expires, and after a jump.
CONFIRMED, SETTLED = 600.0, 24 * HOUR


@dataclass(slots=True)
class Passage:
    """What is known of how time has passed; tell it the time at every step."""

    _wall: datetime | None = None
    _ticks: float = 0.0
    _since: float = 0.0
    _wait: float = SETTLED

    def begin(self, before: datetime | None, now: datetime, ticks: float) -> None:
        """Start to compare.

        Args:
            before: When the store last took something; None where it is new.
            now: The time of day.
            ticks: Seconds that only go forward.
        """
        near = before is None or -TOLERANCE <= now - before <= AWAY
        self._wall, self._ticks, self._since = now, ticks, ticks
        self._wait = CONFIRMED if near else SETTLED

    def look(self, now: datetime, ticks: float) -> timedelta | None:
        """Compare again; return by how much the time of day has jumped, None where it has not."""
        if self._wall is None:
            self.begin(None, now, ticks)
            return None
        passed = timedelta(seconds=ticks - self._ticks)
        moved = now - self._wall - passed
        if abs(moved) > TOLERANCE:
            self._wall, self._ticks, self._since, self._wait = now, ticks, ticks, SETTLED
            return moved
        if ticks - self._ticks >= HOUR:
            self._wall, self._ticks = now, ticks
        return None

    def trusted(self, ticks: float) -> bool:
        """Whether the time of day has gone on plausibly for long enough."""
        return ticks - self._since >= self._wait
