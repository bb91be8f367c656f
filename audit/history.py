"""What charts show of a model's past: bounded, and read by index, however long that past is.

Three kinds: the evidence of one watch after so many observations, a measure per window of time,
and how a measure is distributed. None reads the answers themselves (`audit.store.tallies`,
`audit.watch.trace`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit import intervals
from audit.canonical import moment, read_moment
from audit.detectors.family import Series
from audit.intervals import Estimate
from audit.store import states, tables, tallies
from audit.watch.trace import Point
from audit.watch.watched import Watched
from audit.watch.watching import series_key

Bucket: TypeAlias = Literal["hour", "day", "month"]
# How much of an hour's name names the bucket, and what completes it to a moment; finest first.
BUCKETS: Mapping[Bucket, tuple[int, str]] = {
    "hour": (13, ":00:00.000000Z"),
    "day": (10, "T00:00:00.000000Z"),
    "month": (7, "-01T00:00:00.000000Z"),
}
# The most points of a chart.
MOST = 500
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Selection:
    """Which values are meant.

    Attributes:
        model: The model's name.
        measure: The measure's name.
        source: Where the regions came from; "" for a measure that needs none.
        version: One version; None for all.
        class_label: One decided class; None for all.
        since: From the hour of this moment on; None for the beginning.
        until: Up to this moment, its own hour included where it has begun; None for the end.
    """

    model: str
    measure: str
    source: str = ""
    version: int | None = None
    class_label: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """A measure over one bucket of time.

    Attributes:
        start: When the bucket begins.
        estimate: The mean with an interval: Wilson's where every value is 0 or 1.
    """

    start: datetime
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Distribution:
    """How a measure of one version is distributed.

    Attributes:
        version: The version.
        counts: Values per bin, of equal bins over [0, 1].
        mean: Of the values, not of the bins.
    """

    version: int
    counts: tuple[int, ...]
    mean: Estimate


def watches(connection: Connection, model: str, version: int) -> Sequence[Watched]:
    """Return every series under watch of a model version, in the order of their names."""
    found = [Watched.from_text(text) for text in states.of_version(connection, model, version)]
    return sorted(found, key=lambda each: each.series)


def watch(connection: Connection, series: Series) -> tuple[Watched, Sequence[Point]] | None:
    """Return a series with the points of its past; None where it is not watched."""
    text = states.state(connection, series_key(series))
    if text is None:
        return None
    found = Watched.from_text(text)
    return found, states.points(connection, found.alarm.alarm_id)


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """Return at most so many points, the last one among them, with the peaks between.

    Args:
        points: In the order of time.
        most: At least 1.
    """
    step = max(1, math.ceil(len(points) / most))
    first = (len(points) - 1) % step
    groups = [points[max(0, end - step + 1) : end + 1] for end in range(first, len(points), step)]
    return [
        replace(
            group[-1],
            peak=max(each.peak for each in group),
            cusum_peak=max(
                (each.cusum_peak for each in group if each.cusum_peak is not None), default=None
            ),
        )
        for group in groups
    ]


def windows(
    connection: Connection, wanted: Selection, bucket: Bucket, *, most: int = MOST
) -> tuple[Bucket, Sequence[Window]]:
    """Return a measure over time, oldest first; empty buckets are left out.

    Args:
        connection: To the store.
        wanted: Which values.
        bucket: The finest buckets that are wanted.
        most: With more of them, coarser ones are taken.

    Returns:
        The buckets that were taken, and what is in them; of months the latest.
    """
    order = [*BUCKETS]
    for each in order[order.index(bucket) :]:
        found = _windows(connection, wanted, each, most + 1)
        if len(found) <= most:
            return each, found
    return order[-1], found[-most:]


def distributions(connection: Connection, wanted: Selection) -> Sequence[Distribution]:
    """Return the distribution of a measure per version, oldest first; without regard to time."""
    table = tables.histograms
    summed = (
        sa.select(table.c.version, table.c.bin, sa.func.sum(table.c.n))
        .where(*_named(table, wanted))
        .group_by(table.c.version, table.c.bin)
    )
    counts: dict[int, list[int]] = {}
    for version, number, n in connection.execute(summed):
        counts.setdefault(version, [0] * tallies.BINS)[number] = int(n)
    means = _means(connection, wanted)
    return [Distribution(each, tuple(counts[each]), means[each]) for each in sorted(means)]


def estimate(n: int, total: int, squares: int, *, level: float = LEVEL) -> Estimate:
    """Return the mean of values in [0, 1] from their sums in fixed point, n at least 1.

    Of values that are all 0 or 1 it is a share with Wilson's interval, else a mean with a normal
    one, cut at 0 and 1. One value alone says nothing about the range.
    """
    one = tallies.ONE
    if total == squares and total % one == 0 and 0 <= total <= n * one:
        return intervals.wilson(total // one, n, level=level)
    mean = total / one / n
    if n < 2:  # noqa: PLR2004 - no spread
        return Estimate(mean, 0.0, 1.0, n, level)
    spread = max(0.0, squares / one / n - mean * mean) * n / (n - 1)
    found = intervals.normal(mean, math.sqrt(spread / n), n, level=level)
    return replace(found, low=max(0.0, found.low), high=min(1.0, found.high))


def _means(connection: Connection, wanted: Selection) -> dict[int, Estimate]:
    table = tables.hours
    summed = sa.select(table.c.version, *_sums(table)).where(*_named(table, wanted))
    rows = connection.execute(summed.group_by(table.c.version)).all()
    return {row.version: _estimate(row) for row in rows if row.n}


def _windows(
    connection: Connection, wanted: Selection, bucket: Bucket, limit: int
) -> Sequence[Window]:
    table = tables.hours
    length, rest = BUCKETS[bucket]
    start = sa.func.substr(table.c.hour, 1, length).label("start")
    summed = sa.select(start, *_sums(table)).where(*_named(table, wanted))
    if wanted.since is not None:
        summed = summed.where(table.c.hour >= moment(wanted.since)[:13])
    if wanted.until is not None:
        # The name of an hour sorts before every moment within it, and after the hour's before.
        end = moment(wanted.until)
        summed = summed.where(table.c.hour < end.removesuffix(BUCKETS["hour"][1]))
    latest = summed.group_by(start).order_by(start.desc()).limit(limit)
    rows: Sequence[Any] = connection.execute(latest).all()
    return [
        Window(read_moment(row.start + rest), _estimate(row)) for row in reversed(rows) if row.n
    ]


def _sums(table: sa.Table) -> list[sa.ColumnElement[int]]:
    return [sa.func.sum(table.c[name]).label(name) for name in ("n", "total", "squares")]


def _estimate(row: Any) -> Estimate:  # noqa: ANN401 - a row of `_sums`
    return estimate(int(row.n), int(row.total), int(row.squares))


def _named(table: sa.Table, wanted: Selection) -> list[sa.ColumnElement[bool]]:
    found = [
        table.c.model == wanted.model,
        table.c.name == wanted.measure,
        table.c.source == wanted.source,
    ]
    if wanted.version is not None:
        found.append(table.c.version == wanted.version)
    if wanted.class_label is not None:
        found.append(table.c.class_label == wanted.class_label)
    return found
