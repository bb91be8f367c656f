"""The stored states of the watched series, and the points of their past."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit.canonical import moment, read_moment
from audit.store import tables
from audit.watch import trace
from audit.watch.trace import Point
from audit.watch.watching import Settled


def load(connection: Connection) -> Mapping[str, str]:
    """Return the state of every series by its key."""
    found = connection.execute(sa.select(tables.detector_states))
    return {row.stream: row.state for row in found}


def save(connection: Connection, settled: Sequence[Settled], *, seq: int) -> None:
    """Store watches after event `seq`."""
    table = tables.detector_states
    ended = [each.key for each in settled if each.text is None]
    if ended:
        connection.execute(sa.delete(table).where(table.c.stream.in_(ended)))
    for each in settled:
        if each.text is None:
            continue
        known = sa.update(table).where(table.c.stream == each.key)
        if connection.execute(known.values(state=each.text, seq=seq)).rowcount == 0:
            named = {"stream": each.key, "model": each.model, "version": each.version}
            connection.execute(sa.insert(table).values(state=each.text, seq=seq, **named))
    _add(connection, settled)


def of_version(connection: Connection, model: str, version: int) -> Sequence[str]:
    """Return the state of every series of a model version, by key."""
    table = tables.detector_states
    wanted = sa.select(table.c.state).where(table.c.model == model, table.c.version == version)
    return connection.execute(wanted.order_by(table.c.stream)).scalars().all()


def state(connection: Connection, key: str) -> str | None:
    """Return the state of one series; None where it is not watched."""
    table = tables.detector_states
    return connection.execute(sa.select(table.c.state).where(table.c.stream == key)).scalar()


def points(connection: Connection, watch_id: str) -> Sequence[Point]:
    """Return the points of a watch's past, oldest first; at most `trace.MOST`."""
    table = tables.points
    wanted = sa.select(table).where(table.c.watch_id == watch_id).order_by(table.c.observations)
    return [
        Point(
            row.observations, read_moment(row.at), row.value, row.peak, row.cusum, row.cusum_peak
        )
        for row in connection.execute(wanted)
    ]


def _add(connection: Connection, settled: Sequence[Settled]) -> None:
    rows = [_row(each.watch_id, point) for each in settled for point in each.points]
    if rows:
        connection.execute(sa.insert(tables.points), rows)
    for each in settled:
        if each.thinned:
            kept = trace.thinned(points(connection, each.watch_id))
            table = tables.points
            connection.execute(sa.delete(table).where(table.c.watch_id == each.watch_id))
            connection.execute(sa.insert(table), [_row(each.watch_id, point) for point in kept])


def _row(watch_id: str, point: Point) -> dict[str, object]:
    return {**asdict(point), "watch_id": watch_id, "at": moment(point.at)}
