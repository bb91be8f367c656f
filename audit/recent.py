"""The latest answers of a model at a glance, in a time that does not grow with the store.

Everything but the traffic is about a window of so many answers, the newest ones of one version.
Means stand beside what a heatmap that ignores the image would reach: its chance.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit import intervals, records
from audit.canonical import moment
from audit.intervals import Estimate
from audit.store import queries, tables

WINDOW = 1000  # answers
DAYS = 14  # of traffic
LABELS = 20  # true classes below which a share of right answers says nothing
POINTS = 24  # of a trend
# Measure → the measure that holds its chance level.
CHANCES: Mapping[str, str] = {"activation_recall": "recall_chance", "relevance_mass": "chance"}
LEVEL = 0.95
# How well one part of what is irrelevant carries an answer into other images.
RELIANCE = "part_reliance"


@dataclass(frozen=True, slots=True)
class Trend:
    """One measure over the window.

    Attributes:
        source: Where the regions came from, of the source with the most.
        estimate: Its mean with an interval.
        points: Means of equal groups of answers, oldest first; at most `POINTS`.
        chance: The same measure of a heatmap that ignores the image; None where it has none.
    """

    source: str
    estimate: Estimate
    points: tuple[float, ...]
    chance: float | None


@dataclass(frozen=True, slots=True)
class Glance:
    """A model at a glance.

    Attributes:
        days: Answers per day of all versions, oldest first, today last; `DAYS` numbers.
        today: Answers within the last 24 hours.
        answers: Answers in the window.
        with_region: Answers in the window with a region of any source.
        trends: Measure → its trend; only measures with values.
        accuracy: Share of right answers among those in the window whose true class is known; None
            where fewer than `LABELS` are.
        alarms: State → alarms of the model in that state.
    """

    days: tuple[int, ...]
    today: int
    answers: int
    with_region: int
    trends: Mapping[str, Trend]
    accuracy: Estimate | None
    alarms: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Example:
    """One answer of the window with one of its measures.

    Attributes:
        prediction_id: The answer.
        event_time: When it was given.
        version: Which version gave it.
        class_label: What it decided.
        confidence: How probable it held that.
        value: The measure.
    """

    prediction_id: str
    event_time: str
    version: int
    class_label: str
    confidence: float
    value: float


@dataclass(frozen=True, slots=True)
class Decided:
    """How often a class was decided.

    Attributes:
        label: The class.
        answers: How often.
        share: Of all answers, in (0, 1].
        right: Share that is right, of those whose true class is known; None where none is.
    """

    label: str
    answers: int
    share: float
    right: Estimate | None


@dataclass(frozen=True, slots=True)
class Unreviewed:
    """An answer that nobody has judged yet.

    Attributes:
        record: As it was given.
        measures: Name → value, of what is current; of the last source where there are several.
    """

    record: records.PredictionRecord
    measures: Mapping[str, float]


def glance(
    connection: Connection, model: str, version: int | None, *, now: datetime, window: int = WINDOW
) -> Glance:
    """Return a model at a glance.

    Args:
        connection: To the store.
        model: Its name.
        version: The version that the window is about; None for all.
        now: The present.
        window: Most answers in the window.
    """
    since = beginning(connection, model, version, window)
    days, today = _traffic(connection, model, now)
    answers, accuracy = _answers(connection, model, version, since)
    values = _values(connection, model, version, since)
    return Glance(
        days=days,
        today=today,
        answers=answers,
        with_region=len({each.prediction_id for each in values if each.source}),
        trends=_trends(values),
        accuracy=accuracy,
        alarms=alarm_states(connection, model),
    )


def beginning(connection: Connection, model: str, version: int | None, window: int) -> str:
    """Return the moment of the oldest answer in the window, as canonical text; "" without one."""
    table = tables.predictions
    newest = (
        sa.select(table.c.event_time)
        .where(*_of(table, model, version), table.c.stream == "live")
        .order_by(table.c.event_time.desc())
        .limit(window)
        .subquery()
    )
    return connection.execute(sa.select(sa.func.min(newest.c.event_time))).scalar() or ""


def alarm_states(connection: Connection, model: str) -> Mapping[str, int]:
    """Return how many alarms of a model stand in each state."""
    table = tables.alarms
    counted = (
        sa.select(table.c.state, sa.func.count())
        .where(table.c.model == model)
        .group_by(table.c.state)
    )
    return {row[0]: row[1] for row in connection.execute(counted)}


def examples(
    connection: Connection,
    model: str,
    version: int | None,
    measure: str,
    *,
    limit: int,
    class_label: str | None = None,
    source: str | None = None,
    highest: bool = False,
    window: int = WINDOW,
) -> Sequence[Example]:
    """Return the answers of the window with the lowest values of a measure, lowest first.

    Only answers whose image is kept, each at its lowest value over the sources of regions, or
    against the region of one source. With `highest`, those with the highest values, likewise.
    """
    since = beginning(connection, model, version, window)
    values, answers = tables.measures, tables.predictions
    extreme = sa.func.max if highest else sa.func.min
    found = extreme(values.c.value).label("found")
    wanted = (
        sa.select(answers, found)
        .join(values, values.c.prediction_id == answers.c.prediction_id)
        .where(*_of(values, model, version), values.c.name == measure, values.c.current)
        .where(values.c.event_time >= since, answers.c.stream == "live")
        .where(answers.c.image.is_not(None), ~answers.c.erased)
        .group_by(answers.c.prediction_id)
        .order_by(found.desc() if highest else found, answers.c.prediction_id)
        .limit(limit)
    )
    if class_label is not None:
        wanted = wanted.where(values.c.class_label == class_label)
    if source is not None:
        wanted = wanted.where(values.c.source == source)
    return [
        Example(
            row.prediction_id,
            row.event_time,
            row.version,
            row.class_label,
            row.confidence,
            row.found,
        )
        for row in connection.execute(wanted)
    ]


def decided(
    connection: Connection, model: str, version: int | None, since: str
) -> Sequence[Decided]:
    """Return how often each class was decided since a moment, by label; numbers as numbers."""
    table = tables.predictions
    right = sa.case((table.c.label == table.c.class_label, 1), else_=0)
    counted = (
        sa.select(
            table.c.class_label,
            sa.func.count().label("answers"),
            sa.func.count(table.c.label).label("known"),
            sa.func.coalesce(sa.func.sum(right), 0).label("right"),
        )
        .where(*_of(table, model, version), table.c.stream == "live", table.c.event_time >= since)
        .group_by(table.c.class_label)
    )
    rows = connection.execute(counted).all()
    total = sum(row.answers for row in rows)
    found = [
        Decided(
            row.class_label,
            row.answers,
            row.answers / total,
            intervals.wilson(row.right, row.known) if row.known else None,
        )
        for row in rows
    ]
    return sorted(found, key=lambda each: (not each.label.isdecimal(), each.label.zfill(9)))


def unreviewed(connection: Connection, model: str, *, limit: int) -> Sequence[Unreviewed]:
    """Return the newest live answers without a verdict whose image is kept, newest first."""
    table, values = tables.predictions, tables.measures
    newest = (
        sa.select(table.c.prediction_id, table.c.seq)
        .where(table.c.model == model, table.c.stream == "live", table.c.verdict.is_(None))
        .where(table.c.image.is_not(None), ~table.c.erased)
        .order_by(table.c.event_time.desc())
        .limit(limit)
    )
    wanted = {row.prediction_id: row.seq for row in connection.execute(newest)}
    measures: defaultdict[str, dict[str, float]] = defaultdict(dict)
    known = sa.select(values.c.prediction_id, values.c.name, values.c.value).where(
        values.c.prediction_id.in_(wanted), values.c.current
    )
    for row in connection.execute(known.order_by(values.c.source)):
        measures[row.prediction_id][row.name] = row.value
    found = ((name, queries.payload(connection, seq)) for name, seq in wanted.items())
    return [
        Unreviewed(event, measures[name])
        for name, event in found
        if isinstance(event, records.PredictionRecord)
    ]


def _of(table: sa.Table, model: str, version: int | None) -> list[sa.ColumnElement[bool]]:
    return [table.c.model == model, *([table.c.version == version] if version else [])]


def _traffic(connection: Connection, model: str, now: datetime) -> tuple[tuple[int, ...], int]:
    table = tables.predictions
    first = moment(now - timedelta(days=DAYS - 1))[:10]
    day = sa.func.substr(table.c.event_time, 1, 10)
    live = [table.c.model == model, table.c.stream == "live"]
    per_day = sa.select(day, sa.func.count()).where(*live, table.c.event_time >= first)
    counted = {row[0]: int(row[1]) for row in connection.execute(per_day.group_by(day))}
    latest = moment(now - timedelta(days=1))
    today = connection.execute(
        sa.select(sa.func.count()).where(*live, table.c.event_time >= latest)
    ).scalar_one()
    names = [moment(now - timedelta(days=back))[:10] for back in reversed(range(DAYS))]
    return tuple(counted.get(name, 0) for name in names), today


def _answers(
    connection: Connection, model: str, version: int | None, since: str
) -> tuple[int, Estimate | None]:
    table = tables.predictions
    right = sa.case((table.c.label == table.c.class_label, 1), else_=0)
    row = connection.execute(
        sa.select(
            sa.func.count().label("answers"),
            sa.func.count(table.c.label).label("labelled"),
            sa.func.coalesce(sa.func.sum(right), 0).label("right"),
        ).where(*_of(table, model, version), table.c.stream == "live", table.c.event_time >= since)
    ).one()
    known = row.labelled >= LABELS
    return row.answers, intervals.wilson(row.right, row.labelled) if known else None


def _values(connection: Connection, model: str, version: int | None, since: str) -> Sequence[Any]:
    """Return what is current of the measures in the window, oldest first."""
    table, answers = tables.measures, tables.predictions
    names = [*CHANCES, *CHANCES.values(), RELIANCE]
    wanted = (
        sa.select(table.c.prediction_id, table.c.name, table.c.source, table.c.value)
        .join(answers, answers.c.prediction_id == table.c.prediction_id)
        .where(*_of(table, model, version), table.c.event_time >= since, table.c.current)
        .where(table.c.name.in_(names), answers.c.stream == "live")
        .order_by(table.c.event_time)
    )
    return connection.execute(wanted).all()


def _trends(values: Sequence[Any]) -> dict[str, Trend]:
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for each in values:
        found[each.name, each.source].append(each.value)
    trends = {}
    for name in {name for name, _ in found} - set(CHANCES.values()):
        sizes = Counter({source: len(all_) for (of, source), all_ in found.items() if of == name})
        source = min(sizes, key=lambda each: (-sizes[each], each))
        sample = np.array(found[name, source])
        chance = found.get((CHANCES.get(name, ""), source))
        groups = np.array_split(sample, min(POINTS, len(sample)))
        trends[name] = Trend(
            source=source,
            estimate=estimate(sample),
            points=tuple(float(group.mean()) for group in groups),
            chance=float(np.mean(chance)) if chance else None,
        )
    return trends


def estimate(sample: np.ndarray[Any, Any]) -> Estimate:
    """Return the mean of values in [0, 1] with an interval.

    Wilson's where every value is 0 or 1, which does not collapse where all are equal; else a
    normal one, cut at 0 and 1.
    """
    mean, count = float(sample.mean()), len(sample)
    if np.isin(sample, (0.0, 1.0)).all():
        return intervals.wilson(float(sample.sum()), count, level=LEVEL)
    error = float(sample.std(ddof=1)) / math.sqrt(count) if count > 1 else 1.0
    found = intervals.normal(mean, error, count, level=LEVEL)
    return Estimate(mean, max(0.0, found.low), min(1.0, found.high), count, LEVEL)
