"""Answers that more than one person reads: which wait for it, where readers differ, how far."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit import agreement, records
from audit.agreement import Agreement, Reading
from audit.store import queries, tables

# The answers that were read last, over all models, among which agreement and work are looked for.
WINDOW = 2000
_AT_ONCE = 500  # ids in one question
_TWO = 2


@dataclass(frozen=True, slots=True)
class Conflict:
    """An answer about which its readers differ, and nobody has decided.

    Attributes:
        prediction_id: The answer.
        version: Which version gave it.
        class_label: What it decided.
        readings: Of each reader the last one, oldest first, without what was erased.
    """

    prediction_id: str
    version: int
    class_label: str
    readings: Sequence[records.ReviewEvent]


def of_model(connection: Connection, model: str, version: int | None = None) -> Agreement:
    """Return how far the readers of a model's answers agree, over the newest of them."""
    found = _read_twice(connection, model, version)
    return agreement.measure([agreement.independent(each) for each in found.values()])


def conflicts(connection: Connection, model: str, *, limit: int = 50) -> Sequence[Conflict]:
    """Return the answers that wait for somebody to decide between readers, newest first."""
    found = _read_twice(connection, model, None)
    open_ones = [each for each, said in found.items() if agreement.settled(said) is None]
    return [_conflict(connection, each) for each in open_ones[:limit]]


def asked(connection: Connection, model: str, *, reader: str, limit: int) -> Sequence[str]:
    """Return answers that wait for a second reading, the longest waiting first.

    Args:
        connection: To the store.
        model: The model's name.
        reader: Who would read; answers that this person has judged are left out.
        limit: The most.
    """
    table = tables.readings
    wanted = connection.execute(sa.select(table.c.prediction_id).order_by(table.c.seq))
    names = _readable(connection, model, wanted.scalars().all())
    said = _readers(connection, names)
    return [each for each in names if _may_read(said[each], reader)][:limit]


def once(connection: Connection, model: str, *, reader: str, limit: int) -> Sequence[str]:
    """Return the answers that one other person has judged, the last judged first.

    Arguments are as for `asked`.
    """
    table = tables.reviews
    latest = sa.func.max(table.c.seq)
    found = (
        sa.select(table.c.prediction_id)
        .group_by(table.c.prediction_id)
        .having(
            sa.func.count(sa.distinct(table.c.actor)) == 1, sa.func.min(table.c.actor) != reader
        )
        .order_by(latest.desc())
        .limit(WINDOW)
    )
    return _readable(connection, model, connection.execute(found).scalars().all())[:limit]


def readers(connection: Connection, prediction_id: str) -> frozenset[str]:
    """Return who has judged an answer."""
    table = tables.reviews
    found = sa.select(table.c.actor).where(table.c.prediction_id == prediction_id)
    return frozenset(connection.execute(found).scalars())


def _readable(connection: Connection, model: str, names: Sequence[str]) -> list[str]:
    """Return those of the answers that are the model's and whose image is kept, in their order."""
    found = _answers(connection, model, names)
    known = {each.prediction_id for each in found if each.image is not None and not each.erased}
    return [each for each in names if each in known]


def _answers(connection: Connection, model: str, names: Sequence[str]) -> Sequence[Any]:
    """Return those that are live answers of the model.

    Filtered here: SQLite, asked for a model as well, would walk over all of the model's answers.
    """
    found = _in_parts(connection, sa.select(tables.predictions), names)
    return [each for each in found if each.model == model and each.stream == "live"]


def _readers(connection: Connection, names: Sequence[str]) -> Mapping[str, set[str]]:
    table = tables.reviews
    found: defaultdict[str, set[str]] = defaultdict(set)
    for row in _in_parts(connection, sa.select(table.c.prediction_id, table.c.actor), names):
        found[row.prediction_id].add(row.actor)
    return found


def _may_read(readers: set[str], reader: str) -> bool:
    return len(readers) < _TWO and reader not in readers


def _in_parts(
    connection: Connection, wanted: sa.Select[Any], names: Sequence[str]
) -> Sequence[Any]:
    """Return the rows about answers, found by their ids: never a walk over all answers."""
    column = wanted.selected_columns["prediction_id"]
    return [
        row
        for start in range(0, len(names), _AT_ONCE)
        for row in connection.execute(wanted.where(column.in_(names[start : start + _AT_ONCE])))
    ]


def _read_twice(
    connection: Connection, model: str, version: int | None
) -> Mapping[str, Sequence[Reading]]:
    """Return what was said of each answer with two readers or more, the last read first."""
    table = tables.reviews
    latest = sa.func.max(table.c.seq)
    twice = (
        sa.select(table.c.prediction_id)
        .where(table.c.reading != "adjudication")
        .group_by(table.c.prediction_id)
        .having(sa.func.count(sa.distinct(table.c.actor)) >= _TWO)
        .order_by(latest.desc())
        .limit(WINDOW)
    )
    names = connection.execute(twice).scalars().all()
    known = {
        each.prediction_id
        for each in _answers(connection, model, names)
        if version in {None, each.version}
    }
    found: dict[str, list[Reading]] = {name: [] for name in names if name in known}
    said = sa.select(table.c.prediction_id, table.c.seq, table.c.actor, table.c.verdict)
    rows = _in_parts(connection, said.add_columns(table.c.reading), list(found))
    for row in sorted(rows, key=lambda each: each.seq):
        found[row.prediction_id].append(
            Reading(row.actor, row.verdict, row.reading == "adjudication")
        )
    return found


def _conflict(connection: Connection, prediction_id: str) -> Conflict:
    answers, table = tables.predictions, tables.reviews
    about = sa.select(answers).where(answers.c.prediction_id == prediction_id)
    answer: Any = connection.execute(about).one()
    said = sa.select(table.c.seq).where(table.c.prediction_id == prediction_id)
    events = [
        queries.payload(connection, seq)
        for seq in connection.execute(said.order_by(table.c.seq)).scalars().all()
    ]
    last = {each.actor: each for each in events if isinstance(each, records.ReviewEvent)}
    return Conflict(prediction_id, answer.version, answer.class_label, list(last.values()))
