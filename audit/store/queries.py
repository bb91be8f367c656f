"""Questions to the store that need no writer."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from audit import records
from audit.canonical import read_moment
from audit.errors import StoreError
from audit.journal.lines import Place
from audit.policy import PastRequest
from audit.store import ledger, tables, waiting

# How a request ends; before that it is under way.
RECENT = 500
SETTLED = frozenset({"promoted", "rejected", "failed", "cancelled", "rolled_back"})


@dataclass(frozen=True, slots=True)
class Reading:
    """The store as everybody but the auditor sees it.

    Attributes:
        engine: As opened by `connections.open_reader`.
    """

    engine: Engine

    def prediction(self, prediction_id: str) -> records.PredictionRecord | None:
        """Return what was answered under this id; None where it is unknown or erased."""
        with self.connected() as connection:
            return answer(connection, prediction_id)

    def later(self, prediction_id: str) -> Mapping[str, Any] | None:
        """Return what is known about an answer beyond its record; None where it is unknown.

        Returns:
            The columns of `tables.predictions`.
        """
        table = tables.predictions
        wanted = sa.select(table).where(table.c.prediction_id == prediction_id)
        with self.connected() as connection:
            row = connection.execute(wanted).first()
        return None if row is None else dict(row._mapping)  # noqa: SLF001 - its public name

    def places(self) -> Mapping[str, Place]:
        """Return up to where each source of the journal is ingested."""
        with self.connected() as connection:
            return ledger.places(connection)

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """Open a connection for short questions.

        Raises:
            StoreError: If the database does not answer.
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreError("the audit store does not answer") from error


def answer(connection: Connection, prediction_id: str) -> records.PredictionRecord | None:
    """Return what was answered under this id; None where it is unknown or erased."""
    table = tables.predictions
    found = sa.select(table.c.seq).where(table.c.prediction_id == prediction_id)
    seq = connection.execute(found).scalar()
    event = None if seq is None else payload(connection, seq)
    return event if isinstance(event, records.PredictionRecord) else None


def regions(connection: Connection, model: str) -> Mapping[str, int]:
    """Return how many live answers of a model have a region, by the region's source."""
    table = tables.hours  # which leaves drills out
    counted = (
        sa.select(table.c.source, sa.func.sum(table.c.n))
        .where(table.c.model == model, table.c.name == "activation_recall")
        .group_by(table.c.source)
    )
    return {row[0]: int(row[1]) for row in connection.execute(counted)}


def past_requests(connection: Connection, model: str) -> Sequence[PastRequest]:
    """Return all requests for a model that count: superseded ones were never made."""
    table = tables.requests
    found = sa.select(table).where(table.c.model == model, table.c.status != "superseded")
    return [
        PastRequest(row.request_id, read_moment(row.opened_at), row.status in SETTLED)
        for row in connection.execute(found)
    ]


def request_seq(connection: Connection, request_id: str) -> int | None:
    """Return the number of the event that first made a request; None where there is none."""
    table = tables.requests
    found = sa.select(table.c.seq).where(table.c.request_id == request_id)
    return connection.execute(found).scalar()


def region_sources(connection: Connection, prediction_id: str) -> set[str]:
    """Return the sources of the regions that an answer was measured against."""
    table = tables.measures
    found = sa.select(table.c.source).where(table.c.prediction_id == prediction_id).distinct()
    return {source for source in connection.execute(found).scalars() if source}


def erasure_known(connection: Connection, event_id: str) -> bool:
    """Whether an erasure with this id was asked for."""
    table = tables.erasures
    found = connection.execute(sa.select(table.c.event_id).where(table.c.event_id == event_id))
    return found.first() is not None


def erased_at(connection: Connection, event_id: str) -> str | None:
    """Return when an erasure was carried out; None while it is not."""
    table = tables.erasures
    found = sa.select(table.c.done_at).where(table.c.event_id == event_id)
    return connection.execute(found).scalar()


def last_ingested(connection: Connection) -> datetime | None:
    """Return when the newest event was ingested; None for an empty store."""
    table = tables.events
    newest = sa.select(table.c.ingested_at).order_by(table.c.seq.desc()).limit(1)
    found = connection.execute(newest).scalar()
    return None if found is None else read_moment(found)


def drills(connection: Connection) -> Mapping[str, datetime]:
    """Return when the last drill of each model raised its alarm, among the latest actions."""
    table = tables.events
    last: dict[str, datetime] = {}
    wanted = sa.select(table.c.seq).where(table.c.kind == records.ActionEvent.kind)
    for seq in connection.execute(wanted.order_by(table.c.seq.desc()).limit(RECENT)).scalars():
        event = payload(connection, seq)
        if isinstance(event, records.ActionEvent) and is_drilled(event):
            last.setdefault(event.details["model"], event.event_time)
    return last


def is_drilled(event: records.ActionEvent) -> bool:
    """Whether the event says that a drill raised its alarm."""
    return event.action == "drill" and event.details.get("outcome") == "alarm"


def payload(connection: Connection, seq: int) -> records.Event | None:
    """Return the event with this sequence number; None where it is unknown or erased."""
    wanted = sa.select(tables.payloads.c.body).where(tables.payloads.c.seq == seq)
    body = connection.execute(wanted).scalar()
    return None if body is None else _event(bytes(body))


def replay(connection: Connection, *, after: int = 0) -> Iterator[tuple[int, records.Event]]:
    """Yield the events that are not erased, by sequence number, without holding them all."""
    table = tables.payloads
    wanted = sa.select(table.c.seq, table.c.body).where(table.c.seq > after).order_by(table.c.seq)
    for row in connection.execution_options(yield_per=500).execute(wanted):
        yield row.seq, _event(bytes(row.body))


def applied(connection: Connection) -> Iterator[tuple[int, records.Event]]:
    """Yield the events that are not erased, in the order in which they took effect."""
    return waiting.in_order(connection, replay(connection))


def _event(body: bytes) -> records.Event:
    entry = records.from_bytes(body)
    if isinstance(entry, records.ImageRecord):
        raise TypeError("the store holds no images")
    return entry
