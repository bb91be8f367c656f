"""The one clock: everything else takes `now` as an argument."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the present moment, timezone-aware, in UTC."""
    return datetime.now(tz=UTC)  # noqa: TID251 - the only place that asks the clock


def ticks() -> float:
    """Return seconds that only ever go forward, sleep included; nobody can set them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
