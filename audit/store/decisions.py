"""What the policy decided and which requests there are, from the store."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit import canonical, policy
from audit.canonical import moment
from audit.decided import DecisionEvent, Kind, Reason
from audit.store import tables


def project(connection: Connection, seq: int, event: DecisionEvent) -> None:
    """Add a decision to its table."""
    reasons = [canonical.dump(each) for each in event.reasons]
    connection.execute(
        sa.insert(tables.decisions).values(
            seq=seq,
            model=event.model,
            event_time=moment(event.event_time),
            retrain=event.retrain,
            request_id=event.request_id,
            reasons=canonical.text(reasons).decode(),
            alarm_ids=canonical.text(list(event.alarm_ids)).decode(),
        )
    )


def gists(connection: Connection) -> Mapping[str, frozenset[tuple[Kind, str]]]:
    """Return what the last decision about each model's alarms said, in short."""
    table = tables.decisions
    # A refusal of a request from outside says nothing about the alarms.
    own = table.c.retrain | table.c.request_id.is_(None)
    latest = sa.select(sa.func.max(table.c.seq)).where(own).group_by(table.c.model)
    wanted = sa.select(table.c.model, table.c.reasons).where(table.c.seq.in_(latest))
    return {row.model: policy.gist(_reasons(row.reasons)) for row in connection.execute(wanted)}


def decided(
    connection: Connection, model: str, *, before: int | None = None, limit: int = 50
) -> Sequence[tuple[int, DecisionEvent]]:
    """Return the decisions about a model by sequence number, newest first."""
    table = tables.decisions
    wanted = sa.select(table).where(table.c.model == model)
    if before is not None:
        wanted = wanted.where(table.c.seq < before)
    rows = connection.execute(wanted.order_by(table.c.seq.desc()).limit(limit))
    return [(row.seq, _event(row)) for row in rows]


def requests(
    connection: Connection, model: str | None = None, *, before: int | None = None, limit: int = 50
) -> Sequence[tuple[sa.Row[Any], DecisionEvent | None]]:
    """Return requests, newest first, each with the decision that made or refused it."""
    table, decisions = tables.requests, tables.decisions
    wanted = sa.select(table)
    if model is not None:
        wanted = wanted.where(table.c.model == model)
    if before is not None:
        wanted = wanted.where(table.c.seq < before)
    rows = connection.execute(wanted.order_by(table.c.seq.desc()).limit(limit)).all()
    about = decisions.c.request_id.in_([row.request_id for row in rows])
    of_models = decisions.c.model.in_({row.model for row in rows})
    made = connection.execute(sa.select(decisions).where(of_models, about))
    known = {row.request_id: _event(row) for row in made}
    return [(row, known.get(row.request_id)) for row in rows]


def _event(row: Any) -> DecisionEvent:  # noqa: ANN401 - a row of `tables.decisions`
    return DecisionEvent(
        event_id="",
        event_time=canonical.read_moment(row.event_time),
        model=row.model,
        retrain=row.retrain,
        reasons=_reasons(row.reasons),
        alarm_ids=tuple(json.loads(row.alarm_ids)),
        request_id=row.request_id,
    )


def _reasons(text: str) -> tuple[Reason, ...]:
    return tuple(canonical.load(Reason, each) for each in json.loads(text))
