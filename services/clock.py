"""The one clock: everything else takes `now` as an argument."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the present moment, timezone-aware, in UTC."""
    return datetime.now(tz=UTC)  # noqa: TID251 - the only place that asks the clock
