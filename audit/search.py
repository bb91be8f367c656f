"""Finds events of the trail: by what they are, what they are about, whom, and when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit import records
from audit.canonical import moment
from audit.store import tables

_APART = ("prediction", "erasure_request", "erasure", "image")
# Events that say something about an answer, an alarm or a request that was there before them.
LATER = tuple(kind for kind in records.KINDS if kind not in _APART)
KINDS = (*LATER, *_APART[:3])  # images are no events
_AT_ONCE = 500  # rows


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; None leaves a side open.

    Attributes:
        kind: One of `KINDS`.
        model: Answers of this model only, as with the next two.
        version: Of the model.
        class_label: The decided class.
        subject: The pseudonym that came with an image.
        since: The first moment of what happened.
        until: The first moment that is left out.
    """

    kind: str | None = None
    model: str | None = None
    version: int | None = None
    class_label: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One event where it stands in the chain.

    Attributes:
        row: Its header, link and seal.
        event: Its content; None where that was erased.
    """

    row: Mapping[str, Any]
    event: records.Event | None


def events(
    connection: Connection, wanted: Wanted, *, before: int | None = None, limit: int = 50
) -> Sequence[Found]:
    """Return events, newest first.

    Args:
        connection: To the store.
        wanted: What is looked for.
        before: Only events with a lower sequence number: the last of the page before.
        limit: Most events.
    """
    table, answers = tables.events, tables.predictions
    chosen = _content()
    answered = (wanted.model, wanted.version, wanted.class_label)
    if any(each is not None for each in answered):
        chosen = chosen.join(answers, answers.c.seq == table.c.seq)
    query = sa.select(table, tables.payloads.c.body).select_from(chosen)
    columns = (answers.c.model, answers.c.version, answers.c.class_label)
    for column, value in zip(columns, answered, strict=True):
        if value is not None:
            query = query.where(column == value)
    if wanted.kind is not None:
        query = query.where(table.c.kind == wanted.kind)
    if wanted.subject is not None:
        query = query.where(tables.payloads.c.subject == wanted.subject)
    if wanted.since is not None:
        query = query.where(table.c.event_time >= moment(wanted.since))
    if wanted.until is not None:
        query = query.where(table.c.event_time < moment(wanted.until))
    if before is not None:
        query = query.where(table.c.seq < before)
    newest = query.order_by(table.c.seq.desc()).limit(limit)
    return [_found(row) for row in connection.execute(newest).mappings()]


def one(connection: Connection, event_id: str) -> Found | None:
    """Return the event of this id; None where nothing of it was ingested."""
    table = tables.events
    query = sa.select(table, tables.payloads.c.body).select_from(_content())
    row = connection.execute(query.where(table.c.event_id == event_id)).mappings().first()
    return None if row is None else _found(row)


def about(connection: Connection, named: str) -> Sequence[Found]:
    """Return what was later said about an answer, an alarm or a request, oldest first.

    Args:
        connection: To the store.
        named: Its id.
    """
    table = tables.events
    query = (
        sa.select(table, tables.payloads.c.body)
        .select_from(_content())
        .where(table.c.kind.in_(LATER), table.c.event_id != named)
        .order_by(table.c.seq)
    )
    needle = b'"' + named.encode() + b'"'
    rows = connection.execution_options(yield_per=_AT_ONCE).execute(query).mappings()
    whole = (row for row in rows if row["body"] is not None)
    return [_found(row) for row in whole if needle in bytes(row["body"])]


def measures(connection: Connection, prediction_id: str) -> Sequence[Mapping[str, Any]]:
    """Return what was measured about an answer: name, source, value, whether it still counts."""
    table = tables.measures
    query = (
        sa.select(table.c.name, table.c.source, table.c.value, table.c.current, table.c.seq)
        .where(table.c.prediction_id == prediction_id)
        .order_by(table.c.source, table.c.name, table.c.seq)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def head(connection: Connection) -> int:
    """Return the sequence number of the last event; 0 in an empty store."""
    return connection.execute(sa.select(tables.head.c.seq)).scalar() or 0


def _content() -> sa.FromClause:
    table, payloads = tables.events, tables.payloads
    return table.outerjoin(payloads, payloads.c.seq == table.c.seq)


def _found(row: Mapping[Any, Any]) -> Found:
    shown = {str(name): value for name, value in row.items() if name != "body"}
    body = row["body"]
    entry = None if body is None else records.from_bytes(bytes(body))
    if isinstance(entry, records.ImageRecord):
        raise TypeError("the store holds no images")
    return Found(shown, entry)
