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

# The newest answers with two readers, over which agreement is measured.
WINDOW = 2000
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
    wanted, answers = tables.readings, tables.predictions
    waiting = (
        sa.select(wanted.c.prediction_id)
        .join(answers, answers.c.prediction_id == wanted.c.prediction_id)
        .where(*_readable(model), _once(wanted.c.prediction_id, reader))
        .order_by(wanted.c.seq)
        .limit(limit)
    )
    return connection.execute(waiting).scalars().all()


def once(connection: Connection, model: str, *, reader: str, limit: int) -> Sequence[str]:
    """Return the newest answers that one other person has judged; arguments as for `asked`."""
    answers = tables.predictions
    found = (
        sa.select(answers.c.prediction_id)
        .where(*_readable(model), answers.c.verdict.is_not(None))
        .where(_once(answers.c.prediction_id, reader))
        .order_by(answers.c.event_time.desc())
        .limit(limit)
    )
    return connection.execute(found).scalars().all()


def readers(connection: Connection, prediction_id: str) -> frozenset[str]:
    """Return who has judged an answer."""
    table = tables.reviews
    found = sa.select(table.c.actor).where(table.c.prediction_id == prediction_id)
    return frozenset(connection.execute(found).scalars())


def _readable(model: str) -> list[sa.ColumnElement[bool]]:
    table = tables.predictions
    kept = table.c.image.is_not(None) & ~table.c.erased
    return [table.c.model == model, table.c.stream == "live", kept]


def _once(prediction_id: sa.ColumnElement[str], reader: str) -> sa.ColumnElement[bool]:
    """Fewer than two have judged it, and not this one."""
    table = tables.reviews
    about = table.c.prediction_id == prediction_id
    count = sa.select(sa.func.count(sa.distinct(table.c.actor))).where(about).scalar_subquery()
    own = sa.select(table.c.seq).where(about, table.c.actor == reader).exists()
    return (count < _TWO) & ~own


def _read_twice(
    connection: Connection, model: str, version: int | None
) -> Mapping[str, Sequence[Reading]]:
    """Return what was said of each answer with two readers or more, the newest answer first."""
    table, answers = tables.reviews, tables.predictions
    of_version = [] if version is None else [answers.c.version == version]
    latest = sa.func.max(table.c.seq)
    twice = (
        sa.select(table.c.prediction_id, latest.label("latest"))
        .join(answers, answers.c.prediction_id == table.c.prediction_id)
        .where(answers.c.model == model, answers.c.stream == "live", *of_version)
        .where(table.c.reading != "adjudication")
        .group_by(table.c.prediction_id)
        .having(sa.func.count(sa.distinct(table.c.actor)) >= _TWO)
        .order_by(latest.desc())
        .limit(WINDOW)
        .subquery()
    )
    rows = connection.execute(
        sa.select(table)
        .join(twice, twice.c.prediction_id == table.c.prediction_id)
        .order_by(twice.c.latest.desc(), table.c.seq)
    )
    found: defaultdict[str, list[Reading]] = defaultdict(list)
    for row in rows:
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
