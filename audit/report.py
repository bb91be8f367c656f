"""Read models: what pages, reports and the REST surface show of the audit trail.

Means come with the interval that says how much they rest on. They use what is current (a corrected
region replaces the earlier one) and stand at the time of the answer, not of its ingestion.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit import intervals, sampling
from audit.canonical import moment
from audit.intervals import Estimate
from audit.reliance.places import Place
from audit.store import tables
from audit.store.carried import where
from audit.watch.healthy import PART_RELIANCE

_EXACT = 1e-12  # below this, two means of the same values are equal


@dataclass(frozen=True, slots=True)
class Span:
    """Which answers are meant.

    Attributes:
        model: The model's name.
        version: One of its versions; None for all.
        since: The first moment; None for the beginning.
        until: The first moment that is left out; None for the end.
    """

    model: str
    version: int | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure over the answers of one class, against regions of one source.

    Attributes:
        measure: Its name.
        source: Where the regions came from; "" for a measure that needs none.
        class_label: The decided class; "" for all classes together.
        estimate: Its mean with an interval.
    """

    measure: str
    source: str
    class_label: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much is known about the answers of a span.

    Attributes:
        answers: How many there are.
        with_region: How many have a region of any source.
        with_label: How many have a true class.
        reviewed: How many have a verdict.
        erased: How many have no content any more.
    """

    answers: int
    with_region: int
    with_label: int
    reviewed: int
    erased: int


@dataclass(frozen=True, slots=True)
class Reviewed:
    """How often a verdict would be given, were every answer reviewed.

    Attributes:
        verdict: The verdict.
        random: From the random stratum alone; None where nothing of it was reviewed.
        weighted: From both strata, weighted.
    """

    verdict: str
    random: Estimate | None
    weighted: Estimate


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list.

    Attributes:
        rows: The rows, as columns by name.
        after: Cursor of the next page; None at the end.
    """

    rows: Sequence[Mapping[str, Any]]
    after: str | None


def measured(
    connection: Connection, span: Span, *, by_class: bool, level: float = 0.95
) -> Sequence[Measured]:
    """Return every measure of a span, per source, and per decided class where that is wanted."""
    table = tables.measures
    label = table.c.class_label if by_class else sa.literal("").label("class_label")
    keys = [table.c.name, table.c.source, *([table.c.class_label] if by_class else [])]
    wanted = (
        sa.select(table.c.name, table.c.source, label, *_moments(table.c.value))
        .select_from(_live(table))
        .where(table.c.current, *_within(table, span))
        .group_by(*keys)
        .order_by(*keys)
    )
    return [
        Measured(row.name, row.source, row.class_label, _estimate(row, level))
        for row in connection.execute(wanted)
    ]


def coverage(connection: Connection, span: Span) -> Coverage:
    """Return how much is known about the answers of a span."""
    table, values = tables.predictions, tables.measures
    located = (
        sa.select(values.c.seq)
        .where(values.c.prediction_id == table.c.prediction_id, values.c.source != "")
        .exists()
    )
    row = connection.execute(
        sa.select(
            sa.func.count().label("answers"),
            _count(located).label("with_region"),
            _count(table.c.label.is_not(None)).label("with_label"),
            _count(table.c.verdict.is_not(None)).label("reviewed"),
            _count(table.c.erased).label("erased"),
        ).where(table.c.stream == "live", *_within(table, span))
    ).one()
    return Coverage(row.answers, row.with_region, row.with_label, row.reviewed, row.erased)


def verdicts(connection: Connection, span: Span) -> Mapping[str, int]:
    """Return how often each verdict was given about the answers of a span."""
    table = tables.predictions
    wanted = (
        sa.select(table.c.verdict, sa.func.count())
        .where(table.c.verdict.is_not(None), table.c.stream == "live", *_within(table, span))
        .group_by(table.c.verdict)
        .order_by(table.c.verdict)
    )
    return {row[0]: row[1] for row in connection.execute(wanted)}


def reviewed(connection: Connection, span: Span, *, level: float = 0.95) -> Sequence[Reviewed]:
    """Return the share of each verdict among all answers, estimated from the first readings.

    The random stratum alone gives a share with Wilson's interval; both strata together one with
    every reading weighted by one over its probability of being asked for.
    """
    table, answers = tables.reviews, tables.predictions
    wanted = (
        sa.select(table.c.prediction_id, table.c.verdict, table.c.stratum, table.c.inclusion)
        .join(answers, answers.c.prediction_id == table.c.prediction_id)
        .where(table.c.reading == "first", answers.c.stream == "live", *_within(answers, span))
        .order_by(table.c.seq)
    )
    # A later first reading of the same answer corrects the one before.
    latest = {row.prediction_id: row for row in connection.execute(wanted)}
    rows = [*latest.values()]
    drawn = [row for row in rows if row.stratum == "random"]
    inclusion = [row.inclusion for row in rows]
    return [
        Reviewed(
            verdict=verdict,
            random=intervals.wilson(
                sum(row.verdict == verdict for row in drawn), len(drawn), level=level
            )
            if drawn
            else None,
            weighted=sampling.weighted_mean(
                [float(row.verdict == verdict) for row in rows], inclusion, level=level
            ),
        )
        for verdict in sorted({row.verdict for row in rows})
    ]


def alarms(
    connection: Connection,
    *,
    model: str | None = None,
    states: Sequence[str] = (),
    after: str | None = None,
    limit: int = 50,
) -> Page:
    """Return alarms, newest first; one over reliance with "where" its answers come from.

    Args:
        connection: To the store.
        model: Of one model; None for all.
        states: In one of these states; all where empty.
        after: Cursor of the page before.
        limit: The most rows.
    """
    table = tables.alarms
    wanted = sa.select(table).order_by(table.c.seq.desc()).limit(limit + 1)
    if model is not None:
        wanted = wanted.where(table.c.model == model)
    if states:
        wanted = wanted.where(table.c.state.in_(states))
    if after is not None:
        wanted = wanted.where(table.c.seq < int(after))
    found = [dict(row._mapping) for row in connection.execute(wanted)]  # noqa: SLF001 - public
    for row in found:
        row["evidence"] = json.loads(row["evidence"])
    page = found[:limit]
    for row in page:
        row["where"] = _where(connection, row)
    return Page(page, str(page[-1]["seq"]) if len(found) > limit else None)


def alarm(connection: Connection, alarm_id: str) -> Mapping[str, Any] | None:
    """Return one alarm; None where there is none of this id."""
    wanted = sa.select(tables.alarms).where(tables.alarms.c.alarm_id == alarm_id)
    row = connection.execute(wanted).first()
    if row is None:
        return None
    return {**row._mapping, "evidence": json.loads(row.evidence)}  # noqa: SLF001 - public


def _where(connection: Connection, row: Mapping[str, Any]) -> Place | None:
    """Return where the answers of an alarm over reliance come from; None for any other."""
    if row["measure"] != PART_RELIANCE or row["state"] == "ok":
        return None
    return where(connection, row["model"], row["version"], row["class_label"], row["source"])


def _live(table: sa.Table) -> sa.FromClause:
    """Only live answers: the known images of a drill would spoil every mean."""
    answers = tables.predictions
    same = (table.c.prediction_id == answers.c.prediction_id) & (answers.c.stream == "live")
    return table.join(answers, same)


def _within(table: sa.Table, span: Span) -> list[sa.ColumnElement[bool]]:
    wanted = [table.c.model == span.model]
    if span.version is not None:
        wanted.append(table.c.version == span.version)
    if span.since is not None:
        wanted.append(table.c.event_time >= moment(span.since))
    if span.until is not None:
        wanted.append(table.c.event_time < moment(span.until))
    return wanted


def _moments(value: sa.ColumnElement[float]) -> list[sa.ColumnElement[Any]]:
    return [
        sa.func.count(value).label("n"),
        sa.func.avg(value).label("mean"),
        sa.func.avg(value * value).label("square"),
    ]


def _count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)


def _estimate(row: Any, level: float) -> Estimate:  # noqa: ANN401 - a row of `_moments`
    """The mean with an interval: Wilson's of a share of flips, else a normal one.

    All that can be said of one value that is no flip is that it lies in it.
    """
    mean, square, count = float(row.mean), float(row.square), int(row.n)
    flips = row.name.endswith("flip") and abs(square - mean) < _EXACT  # x² = x: 0 or 1
    if flips:
        return intervals.wilson(round(mean * count), count, level=level)
    if count < 2:  # noqa: PLR2004 - no spread
        return Estimate(mean, -math.inf, math.inf, count, level)
    spread = max(0.0, square - mean * mean) * count / (count - 1)
    return intervals.normal(mean, math.sqrt(spread / count), count, level=level)
