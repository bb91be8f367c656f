"""What one event changes in the tables that pages and reports read.

Rows are functions of the payload alone, so `verification` can make them again and compare.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit import agreement, canonical, records
from audit.agreement import Reading
from audit.canonical import moment
from audit.comparisons import ComparisonRecord
from audit.decided import DecisionEvent
from audit.store import bulk, comparisons, decisions, suspicions, tables, tallies, waiting
from audit.store.tallies import Value
from audit.suspicions import SuspicionEvent

# How long a payload is kept depends on what it holds: pixels' evidence, or who did what.
_EVIDENCE = (
    records.PredictionRecord,
    records.RegionEvent,
    records.ProbeEvent,
    SuspicionEvent,
    ComparisonRecord,
)


def retention(event: records.Event) -> str:
    """Return the class by which the event's payload expires: "evidence" or "event"."""
    return "evidence" if isinstance(event, _EVIDENCE) else "event"


def project(
    connection: Connection, added: Sequence[tuple[int, records.Event]]
) -> list[tuple[int, records.Event]]:
    """Apply events to the projections, in order.

    Returns:
        What was applied, in that order (`audit.store.waiting`).
    """
    answers = [(seq, event) for seq, event in added if isinstance(event, records.PredictionRecord)]
    if answers:
        rows = [prediction_row(seq, event) for seq, event in answers]
        bulk.insert(connection, tables.predictions, rows)
        measured = [measure_rows(seq, event) for seq, event in answers]
        bulk.insert(connection, tables.measures, [row for each in measured for row in each])
        values = [
            value
            for (_, event), row, each in zip(answers, rows, measured, strict=True)
            if event.stream == "live"  # drills and the like are no measure of the model
            for value in (_confidence(row), *map(Value.of_row, each))
        ]
        tallies.count(connection, values)
    return apply(connection, waiting.due(connection, added))


def apply(
    connection: Connection, due: Sequence[tuple[int, records.Event]]
) -> list[tuple[int, records.Event]]:
    """Apply events whose answers, where they are about one, have their rows; return them."""
    for seq, event in due:
        if (project_one := _LATER.get(type(event))) is not None:
            project_one(connection, seq, event)
    return list(due)


def prediction_row(seq: int, record: records.PredictionRecord) -> dict[str, Any]:
    """Return the row of an answer as it was given."""
    return {
        "prediction_id": record.prediction_id,
        "seq": seq,
        "event_time": moment(record.event_time),
        "model": record.model.name,
        "version": record.model.version,
        "class_label": record.decided.label,
        "confidence": record.decided.probability,
        "explainer": record.explainer,
        "stream": record.stream,
        "image": record.image,
        "region_source": record.region.source if record.region else None,
        "erased": False,
    }


def _confidence(row: Mapping[str, Any]) -> Value:
    """Return the confidence of an answer's row as a value that counts."""
    return Value(
        model=row["model"],
        version=row["version"],
        name=tallies.CONFIDENCE,
        source="",
        class_label=row["class_label"],
        event_time=row["event_time"],
        value=row["confidence"],
    )


def measure_rows(seq: int, record: records.PredictionRecord) -> list[dict[str, Any]]:
    """Return the rows of what was measured when the answer was given."""
    source = record.region.source if record.region else ""
    at = moment(record.event_time)
    return [
        {
            "seq": seq,
            "name": name,
            "source": source,
            "prediction_id": record.prediction_id,
            "model": record.model.name,
            "version": record.model.version,
            "class_label": record.decided.label,
            "event_time": at,
            "value": value,
            "current": True,
        }
        for name, value in record.measures.items()
    ]


def add_measures(
    connection: Connection,
    seq: int,
    prediction_id: str,
    source: str,
    values: Mapping[str, float],
) -> bool:
    """Add what was measured later; it supersedes earlier values of the same name and source.

    Charts show it at the time of the answer; detectors saw what they saw.

    Returns:
        Whether earlier values were superseded.
    """
    answer = _prediction(connection, prediction_id)
    if answer is None or not values:
        return False
    table = tables.measures
    earlier = (
        (table.c.prediction_id == prediction_id)
        & (table.c.source == source)
        & table.c.name.in_(values)
        & table.c.current
    )
    superseded = connection.execute(sa.select(table).where(earlier)).mappings().all()
    connection.execute(sa.update(table).where(earlier).values(current=False))
    shared = {
        "seq": seq,
        "source": source,
        "prediction_id": prediction_id,
        "model": answer.model,
        "version": answer.version,
        "class_label": answer.class_label,
        "event_time": answer.event_time,
        "current": True,
    }
    rows = [shared | {"name": name, "value": float(value)} for name, value in values.items()]
    connection.execute(sa.insert(table), rows)
    if answer.stream == "live":
        tallies.count(connection, [Value.of_row(dict(row)) for row in superseded], sign=-1)
        tallies.count(connection, map(Value.of_row, rows))
    return bool(superseded)


def _label(connection: Connection, seq: int, event: records.LabelEvent) -> None:
    _take_subject(connection, seq, event.prediction_id)
    _change(connection, event.prediction_id, label=event.label)


def _region(connection: Connection, seq: int, event: records.RegionEvent) -> None:
    _take_subject(connection, seq, event.prediction_id)


def _probe(connection: Connection, seq: int, event: records.ProbeEvent) -> None:
    _take_subject(connection, seq, event.prediction_id)
    before = "" if event.intervention == "all" else f"{event.intervention}_"
    named = {before + name: value for name, value in event.measures.items()}
    add_measures(connection, seq, event.prediction_id, event.source, named)


def _review(connection: Connection, seq: int, event: records.ReviewEvent) -> None:
    _take_subject(connection, seq, event.prediction_id)
    table = tables.reviews
    connection.execute(
        sa.insert(table).values(
            seq=seq,
            prediction_id=event.prediction_id,
            event_time=moment(event.event_time),
            verdict=event.verdict,
            actor=event.actor,
            stratum=event.stratum,
            inclusion=event.inclusion,
            blind=event.blind,
            reading=event.reading,
            exemplar=event.exemplar,
            label=event.label,
        )
    )
    about = sa.select(table).where(table.c.prediction_id == event.prediction_id)
    readings = [
        Reading(row.actor, row.verdict, row.reading == "adjudication")
        for row in connection.execute(about.order_by(table.c.seq))
    ]
    if event.reading == "adjudication" or not any(each.adjudicates for each in readings):
        verdict = agreement.settled(readings) or event.verdict
        told = {"label": event.label} if event.label else {}
        _change(connection, event.prediction_id, verdict=verdict, **told)


def _reading(connection: Connection, seq: int, event: records.ReadingRequest) -> None:
    _take_subject(connection, seq, event.prediction_id)
    table = tables.readings
    asked = sa.select(table.c.seq).where(table.c.prediction_id == event.prediction_id)
    if connection.execute(asked).first() is None:
        connection.execute(
            sa.insert(table).values(
                prediction_id=event.prediction_id,
                seq=seq,
                event_time=moment(event.event_time),
                actor=event.actor,
            )
        )


def _alarm(connection: Connection, seq: int, event: records.AlarmEvent) -> None:
    table = tables.alarms
    changed = {
        "state": event.state,
        "evidence": canonical.text(dict(event.evidence)).decode(),
        "changed_at": moment(event.event_time),
        "actor": event.actor,
        "reason": event.reason,
    }
    known = sa.update(table).where(table.c.alarm_id == event.alarm_id).values(**changed)
    if connection.execute(known).rowcount == 0:
        first = {
            "alarm_id": event.alarm_id,
            "seq": seq,
            "model": event.model,
            "version": event.version,
            "measure": event.measure,
            "class_label": event.class_label,
            "side": event.side,
            "source": event.source,
            "raised_at": moment(event.event_time),
        }
        connection.execute(sa.insert(table).values(**first, **changed))


def _request(connection: Connection, seq: int, event: records.RequestEvent) -> None:
    table = tables.requests
    asked = sa.select(table.c.request_id).where(table.c.request_id == event.request_id)
    if connection.execute(asked).first() is not None:
        return  # the same request again
    open_one = sa.select(table.c.request_id).where(
        table.c.model == event.model, table.c.status == "open"
    )
    waiting = connection.execute(open_one).first() is not None
    connection.execute(
        sa.insert(table).values(
            request_id=event.request_id,
            seq=seq,
            model=event.model,
            origin=event.origin,
            actor=event.actor,
            reason=event.reason,
            alarm_id=event.alarm_id,
            status="superseded" if waiting else "open",
            opened_at=moment(event.event_time),
        )
    )


def _action(connection: Connection, seq: int, event: records.ActionEvent) -> None:
    """A run says what became of the request behind it, a person what a suspicion is."""
    request_id, status = event.details.get("request_id"), event.details.get("status")
    if event.action == "run" and request_id and status:
        set_request_status(connection, request_id, status)
    if event.action == "suspicion_verdict":
        suspicions.judge(connection, seq, event)


def set_request_status(connection: Connection, request_id: str, status: str) -> None:
    """Say what became of a request."""
    table = tables.requests
    one = sa.update(table).where(table.c.request_id == request_id)
    connection.execute(one.values(status=status))


def _erasure(connection: Connection, seq: int, event: records.ErasureRequest) -> None:
    connection.execute(
        sa.insert(tables.erasures).values(
            event_id=event.event_id, seq=seq, subject=event.subject, actor=event.actor
        )
    )


_LATER: dict[type, Callable[[Connection, int, Any], None]] = {
    records.LabelEvent: _label,
    records.RegionEvent: _region,
    records.ProbeEvent: _probe,
    records.ReviewEvent: _review,
    records.ReadingRequest: _reading,
    records.AlarmEvent: _alarm,
    records.RequestEvent: _request,
    records.ActionEvent: _action,
    records.ErasureRequest: _erasure,
    SuspicionEvent: suspicions.project,
    DecisionEvent: decisions.project,
    ComparisonRecord: comparisons.project,
}


def _prediction(connection: Connection, prediction_id: str) -> Any:  # noqa: ANN401 - a row or None
    table = tables.predictions
    found = connection.execute(sa.select(table).where(table.c.prediction_id == prediction_id))
    return found.first()


def _change(connection: Connection, prediction_id: str, **values: object) -> None:
    table = tables.predictions
    one = (table.c.prediction_id == prediction_id) & ~table.c.erased
    connection.execute(sa.update(table).where(one).values(**values))


def _take_subject(connection: Connection, seq: int, prediction_id: str) -> None:
    """What is said about an answer belongs to whom the answer is about, and is erased with it."""
    answer = _prediction(connection, prediction_id)
    if answer is None:
        return
    table = tables.payloads
    subject = sa.select(table.c.subject).where(table.c.seq == answer.seq)
    found = connection.execute(subject).scalar()
    if found is not None:
        connection.execute(sa.update(table).where(table.c.seq == seq).values(subject=found))
