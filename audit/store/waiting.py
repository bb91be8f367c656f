"""What is said about an answer before the answer is there: it waits, and then counts in full.

Two workers, or a backlog of one, let a label, region, review, probe or wish for a second reading
be ingested before the answer that it is about. The event has its place in the chain at once. What
it changes (the projections, whose data it is, what detectors see) happens when the answer comes,
right after it and in the order of arrival.

What is said about an answer that was erased with its subject is never applied: it waits for the
next erasure.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias, TypeVar, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit import records
from audit.store import tables

Numbered: TypeAlias = tuple[int, records.Event]
# About an answer, and nothing without it.
Truth: TypeAlias = (
    records.LabelEvent
    | records.RegionEvent
    | records.ReviewEvent
    | records.ReadingRequest
    | records.ProbeEvent
)
TRUTHS = get_args(Truth)
_T = TypeVar("_T")
# Names in one statement: SQLite takes no more than so many parameters.
_AT_ONCE = 500


def due(connection: Connection, added: Sequence[Numbered]) -> list[Numbered]:
    """Return what can be applied now, in the order in which it applies.

    Args:
        connection: Its answers have their rows already, those of `added` too.
        added: New events by number.

    Returns:
        The new events but for those whose answer is missing, and after each answer what has
        waited for it.
    """
    truths = _about(added)
    answers = [event.event_id for _, event in added if isinstance(event, records.PredictionRecord)]
    if not truths and (not answers or not _anything(connection)):
        return list(added)
    places = _places(connection, truths)
    late: defaultdict[str, list[Numbered]] = defaultdict(list)
    for number, truth in _taken(connection, tables.waiting.c.prediction_id, answers):
        late[truth.prediction_id].append((number, truth))
    ordered: list[Numbered] = []
    early: list[dict[str, object]] = []
    for seq, event in added:
        if isinstance(event, Truth) and (place := places.get(event.prediction_id, seq)) >= seq:
            if place > seq:
                late[event.prediction_id].append((seq, event))
            else:
                early.append({"seq": seq, "prediction_id": event.prediction_id})
            continue
        ordered.append((seq, event))
        if isinstance(event, records.PredictionRecord):
            ordered += late.pop(event.event_id, ())
    if early:
        connection.execute(sa.insert(tables.waiting), early)
    return ordered


def overdue(connection: Connection) -> list[Numbered]:
    """Return what still waits although its answer is there, by number; it waits no longer.

    A store of an earlier version of this program has such truths, which were never applied.
    """
    return [*_taken(connection, tables.waiting.c.seq, kept_waiting(connection))]


def kept_waiting(connection: Connection) -> Sequence[int]:
    """Return the numbers of what still waits although its answer is there and not erased."""
    table, answers, gone = tables.waiting, tables.predictions, tables.forgotten
    there = sa.select(table.c.seq).join(answers, answers.c.prediction_id == table.c.prediction_id)
    unforgotten = table.c.prediction_id.not_in(sa.select(gone.c.prediction_id))
    return connection.execute(there.where(unforgotten).order_by(table.c.seq)).scalars().all()


def in_order(connection: Connection, events: Iterable[Numbered]) -> Iterator[Numbered]:
    """Yield all events of a store as they were applied; what waits for its answer is left out.

    Args:
        connection: The store.
        events: From `queries.replay`.
    """
    late: defaultdict[str, list[Numbered]] = defaultdict(list)
    for seq, event in events:
        if isinstance(event, Truth):
            place = _places(connection, [event.prediction_id]).get(event.prediction_id, seq)
            if place >= seq:
                late[event.prediction_id].append((seq, event))
                continue
        yield seq, event
        if isinstance(event, records.PredictionRecord):
            yield from late.pop(event.event_id, ())


def other_subjects(
    connection: Connection, truths: Sequence[tuple[int, str, str | None]]
) -> list[int]:
    """Return the numbers of truths that would not be erased with their answer's subject.

    Args:
        connection: The store.
        truths: Number, answer, and subject as stored, of each.
    """
    table, payloads, waits = tables.predictions, tables.payloads, tables.waiting
    subjects = sa.select(table.c.prediction_id, payloads.c.subject).join(
        payloads, payloads.c.seq == table.c.seq
    )
    found = []
    for some in _portions(truths):
        names = {about for _, about, _ in some}
        rows = connection.execute(subjects.where(table.c.prediction_id.in_(names)))
        owners = {row.prediction_id: row.subject for row in rows}
        numbers = [seq for seq, about, subject in some if owners.get(about, subject) != subject]
        waiting = sa.select(waits.c.seq).where(waits.c.seq.in_(numbers))
        found += sorted(set(numbers) - set(connection.execute(waiting).scalars()))
    return found


def left_behind(connection: Connection) -> Sequence[int]:
    """Return the numbers of what was said about answers that were erased with their subject."""
    table, gone = tables.waiting, tables.forgotten
    wanted = sa.select(table.c.seq).join(gone, gone.c.prediction_id == table.c.prediction_id)
    return connection.execute(wanted.order_by(table.c.seq)).scalars().all()


def forget(connection: Connection, prediction_ids: Collection[str]) -> None:
    """Remember that answers were erased with their subject: nothing may be said about them."""
    if prediction_ids:
        rows = [{"prediction_id": each} for each in prediction_ids]
        connection.execute(sa.insert(tables.forgotten), rows)


def _about(added: Sequence[Numbered]) -> set[str]:
    return {event.prediction_id for _, event in added if isinstance(event, Truth)}


def _anything(connection: Connection) -> bool:
    return connection.execute(sa.select(tables.waiting.c.seq).limit(1)).first() is not None


def _portions(names: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(names)
    while some := list(islice(rest, _AT_ONCE)):
        yield some


def _places(connection: Connection, prediction_ids: Collection[str]) -> dict[str, int]:
    """Return the numbers of answers that are there and not forgotten."""
    table, gone = tables.predictions, tables.forgotten
    found: dict[str, int] = {}
    for some in _portions(prediction_ids):
        kept = table.c.prediction_id.not_in(
            sa.select(gone.c.prediction_id).where(gone.c.prediction_id.in_(some))
        )
        wanted = sa.select(table.c.prediction_id, table.c.seq)
        rows = connection.execute(wanted.where(table.c.prediction_id.in_(some), kept))
        found |= {row.prediction_id: row.seq for row in rows}
    return found


def _taken(
    connection: Connection, column: sa.Column[Any], wanted: Collection[object]
) -> list[tuple[int, Truth]]:
    """Take truths out of the waiting; one whose content is gone has nothing left to say."""
    found: list[tuple[int, Truth]] = []
    table, payloads = tables.waiting, tables.payloads
    for some in _portions(wanted):
        those = column.in_(some)
        bodies = sa.select(table.c.seq, payloads.c.body).join(
            payloads, payloads.c.seq == table.c.seq
        )
        rows = connection.execute(bodies.where(those).order_by(table.c.seq)).all()
        for row in rows:
            event = records.from_bytes(bytes(row.body))
            if isinstance(event, Truth):
                found.append((row.seq, event))
        connection.execute(sa.delete(table).where(those))
    return found
