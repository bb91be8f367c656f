"""Questions to the store that need no writer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from audit import records
from audit.journal.lines import Place
from audit.store import ledger, tables


@dataclass(frozen=True, slots=True)
class Reading:
    """The store as everybody but the auditor sees it.

    Attributes:
        engine: As opened by `connections.open_reader`.
    """

    engine: Engine

    def prediction(self, prediction_id: str) -> records.PredictionRecord | None:
        """Return what was answered under this id; None where it is unknown or erased."""
        table = tables.predictions
        with self.engine.begin() as connection:
            found = sa.select(table.c.seq).where(table.c.prediction_id == prediction_id)
            seq = connection.execute(found).scalar()
            event = None if seq is None else payload(connection, seq)
        return event if isinstance(event, records.PredictionRecord) else None

    def later(self, prediction_id: str) -> Mapping[str, Any] | None:
        """Return what is known about an answer beyond its record; None where it is unknown.

        Returns:
            The columns of `tables.predictions`.
        """
        table = tables.predictions
        wanted = sa.select(table).where(table.c.prediction_id == prediction_id)
        with self.engine.begin() as connection:
            row = connection.execute(wanted).first()
        return None if row is None else dict(row._mapping)  # noqa: SLF001 - its public name

    def places(self) -> Mapping[str, Place]:
        """Return up to where each source of the journal is ingested."""
        with self.engine.begin() as connection:
            return ledger.places(connection)


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


def _event(body: bytes) -> records.Event:
    entry = records.from_bytes(body)
    if isinstance(entry, records.ImageRecord):
        raise TypeError("the store holds no images")
    return entry
