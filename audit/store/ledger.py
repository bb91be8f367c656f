"""The writing side of the store: ingest journal entries, exactly once, in one transaction.

What belongs together is committed together: the events with their chain, the projections, the
cursor of the journal, and whatever the caller does on the same connection (detector states,
alarms).
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from audit import records
from audit.canonical import moment
from audit.errors import StoreError
from audit.journal.lines import Place, Segment
from audit.store import bulk, chain, migration, projections, tables, waiting
from audit.store.anchors import Anchor

# The source of events that the auditor itself adds: they are in no journal.
OWN = "auditor"


@dataclass(frozen=True, slots=True)
class Ingested:
    """An event that has its place in the chain.

    Attributes:
        seq: Its sequence number.
        event: The event.
    """

    seq: int
    event: records.Event


@dataclass(slots=True)
class Batch:
    """One transaction of the writer.

    Attributes:
        connection: For what must be committed with it.
        now: The moment of ingestion.
        ingested: The events added so far.
    """

    connection: Connection
    now: datetime
    _key: bytes
    _draw: Callable[[int], bytes]
    _seq: int
    _link: str
    ingested: list[Ingested] = field(default_factory=list)
    _at: str = ""

    def __post_init__(self) -> None:
        self._at = moment(self.now)

    def ingest(self, entries: Sequence[tuple[records.Event, bytes, Place]]) -> Sequence[Ingested]:
        """Add events of one journal source, in order; what is there already is not added again.

        Args:
            entries: Each event, its canonical text, and the place after it.

        Returns:
            What applies now, in that order: what was said about an answer before it came follows
            the answer (`audit.store.waiting`).

        Raises:
            StoreError: If an event has the id of another one.
        """
        known = self._known([event.event_id for event, _, _ in entries])
        added = []
        for event, body, place in entries:
            if event.event_id not in known:
                known[event.event_id] = body
                at = place.segment
                added.append(self._add(event, body, at.source, at.number, place.offset))
            elif known[event.event_id] not in {None, body}:
                raise StoreError(f"two different events have the id {event.event_id}")
        return self._insert(added)

    def resume(self) -> Sequence[Ingested]:
        """Apply what still waits although its answer is there; return it in that order."""
        due = projections.apply(self.connection, waiting.overdue(self.connection))
        return [Ingested(seq, event) for seq, event in due]

    def append(self, event: records.Event) -> Ingested:
        """Add an event of the auditor's own."""
        added = self._add(event, records.to_bytes(event), OWN, 0, self._seq + 1)
        self._insert([added])
        return added[0]

    def move_cursor(self, place: Place) -> None:
        """Remember that a source is ingested up to `place`."""
        row = {
            "segment": place.segment.number,
            "offset": place.offset,
            "check": place.check,
        }
        cursor, source = tables.cursors, place.segment.source
        known = sa.update(cursor).where(cursor.c.source == source).values(**row)
        if self.connection.execute(known).rowcount == 0:
            self.connection.execute(sa.insert(cursor).values(source=source, **row))

    @property
    def head(self) -> tuple[int, str]:
        """Sequence number and link of the last event."""
        return self._seq, self._link

    def _known(self, event_ids: Sequence[str]) -> dict[str, bytes | None]:
        """Return the body of each event that is in the store; None where it is erased."""
        events, payloads = tables.events, tables.payloads
        found = self.connection.execute(
            sa.select(events.c.event_id, payloads.c.body)
            .select_from(events.outerjoin(payloads, events.c.seq == payloads.c.seq))
            .where(events.c.event_id.in_(event_ids))
        )
        return {row.event_id: None if row.body is None else bytes(row.body) for row in found}

    def _add(
        self, event: records.Event, body: bytes, source: str, segment: int, offset: int
    ) -> tuple[Ingested, dict[str, Any], dict[str, Any]]:
        self._seq += 1
        secret = self._draw(chain.SECRET_BYTES)
        row: dict[str, Any] = {
            "seq": self._seq,
            "source": source,
            "segment": segment,
            "offset": offset,
            "kind": event.kind,
            "event_id": event.event_id,
            "event_time": moment(event.event_time),
            "ingested_at": self._at,
            "commitment": chain.commit(secret, body),
        }
        self._link = chain.link(self._link, row)
        row |= {"link": self._link, "seal": chain.seal(self._key, self._link)}
        payload = {
            "seq": self._seq,
            "body": body,
            "secret": secret,
            "subject": event.subject,
            "retention": projections.retention(event),
            "ingested_at": row["ingested_at"],
        }
        return Ingested(self._seq, event), row, payload

    def _insert(
        self, added: Sequence[tuple[Ingested, dict[str, Any], dict[str, Any]]]
    ) -> Sequence[Ingested]:
        if not added:
            return []
        bulk.insert(self.connection, tables.events, [row for _, row, _ in added])
        bulk.insert(self.connection, tables.payloads, [payload for _, _, payload in added])
        self.ingested += [each for each, _, _ in added]
        numbered = [(each.seq, each.event) for each, _, _ in added]
        due = projections.project(self.connection, numbered)
        return [Ingested(seq, event) for seq, event in due]


@dataclass(frozen=True, slots=True)
class Ledger:
    """The store as its one writer sees it.

    Attributes:
        engine: As opened by `connections.open_writer`.
        key: The chain key of this installation, from outside the database.
        draw: Source of secrets.
    """

    engine: Engine
    key: bytes
    draw: Callable[[int], bytes] = secrets.token_bytes

    def prepare(self, *, now: datetime) -> None:
        """Make or migrate the tables.

        Raises:
            StoreError: If the store was made by a later version of this program.
        """
        migration.upgrade(self.engine)
        with self.engine.begin() as connection:
            if connection.execute(sa.select(tables.identity)).first() is None:
                made = {"only": 1, "store_id": self.draw(16).hex(), "created_at": moment(now)}
                connection.execute(sa.insert(tables.identity).values(made))
                first = {"only": 1, "seq": 0, "link": chain.GENESIS}
                connection.execute(sa.insert(tables.head).values(first))

    @contextmanager
    def batch(self, *, now: datetime) -> Iterator[Batch]:
        """Open a transaction that commits when the block ends and vanishes when it raises."""
        with self.engine.begin() as connection:
            row = connection.execute(sa.select(tables.head)).one()
            batch = Batch(connection, now, self.key, self.draw, row.seq, row.link)
            yield batch
            seq, link = batch.head
            if seq != row.seq:
                connection.execute(sa.update(tables.head).values(seq=seq, link=link))

    def anchor(self, *, now: datetime) -> Anchor:
        """Return where the chain stands, for `AnchorFolder.publish`."""
        with self.engine.begin() as connection:
            return end_of(connection, now=now)

    def forget_traces(self) -> None:
        """After an erasure: leave nothing of it in SQLite's write-ahead log or free pages."""
        if self.engine.dialect.name == "sqlite":
            self.engine.dispose()  # a pooled connection may hold an old snapshot open
            raw = self.engine.raw_connection()
            try:
                raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                raw.close()


def end_of(connection: Connection, *, now: datetime) -> Anchor:
    """Return where the chain stands."""
    identity = connection.execute(sa.select(tables.identity)).one()
    row = connection.execute(sa.select(tables.head)).one()
    return Anchor(identity.store_id, row.seq, row.link, now)


def places(connection: Connection) -> Mapping[str, Place]:
    """Return up to where each source of the journal is ingested."""
    found = connection.execute(sa.select(tables.cursors))
    return {
        row.source: Place(Segment(row.source, row.segment), row.offset, row.check) for row in found
    }
