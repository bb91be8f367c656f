"""The mix of decided classes over time: shares per window, and whether it has changed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit import intervals
from audit.canonical import moment, read_moment
from audit.detectors.base import Level
from audit.detectors.mix import ClassMix
from audit.errors import BaselineError
from audit.history import BUCKETS, Bucket
from audit.intervals import Estimate
from audit.store import tables

# The latest answers that are looked at: what a chart shows, and what one look may cost.
MOST = 20_000
# So many first answers are the reference where the card has none.
WARM_UP = 200
State: TypeAlias = Literal["steady", "changing", "changed", "unwatched"]
_STATES: Mapping[Level, State] = {
    Level.OK: "steady",
    Level.WARNING: "changing",
    Level.ALARM: "changed",
}


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer, as far as the mix is concerned.

    Attributes:
        at: When, as canonical text.
        label: The decided class.
    """

    at: str
    label: str


@dataclass(frozen=True, slots=True)
class MixWindow:
    """The mix in one bucket of time.

    Attributes:
        start: When the bucket begins.
        answers: How many answers it holds.
        shares: Class → its share with Wilson's interval; every class that is asked for.
    """

    start: datetime
    answers: int
    shares: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class MixVerdict:
    """Whether the mix has changed.

    Attributes:
        state: "changed" stays for as long as the change is among the answers looked at.
        statistic: The evidence after the last answer.
        threshold: Where the mix counts as changed: the mean answers to a false alarm, at least.
        observations: Answers that the detector has taken.
        changed_at: When the evidence reached the threshold; None where it has not.
        reason: Why nothing is watched; "" where it is.
    """

    state: State
    statistic: float
    threshold: float
    observations: int
    changed_at: datetime | None
    reason: str = ""


def answered(
    connection: Connection,
    model: str,
    version: int,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Sequence[Answered]:
    """Return the latest live answers of a version in a span, at most `MOST`, oldest first."""
    table = tables.predictions
    wanted = sa.select(table.c.event_time, table.c.class_label).where(
        table.c.model == model, table.c.version == version, table.c.stream == "live"
    )
    if since is not None:
        wanted = wanted.where(table.c.event_time >= moment(since))
    if until is not None:
        wanted = wanted.where(table.c.event_time < moment(until))
    ordered = wanted.order_by(table.c.event_time.desc(), table.c.seq.desc()).limit(MOST)
    return [Answered(row[0], row[1]) for row in reversed(connection.execute(ordered).all())]


def windows(
    answers: Sequence[Answered], labels: Sequence[str], bucket: Bucket
) -> Sequence[MixWindow]:
    """Return the share of each class per bucket, oldest first; empty buckets are left out."""
    length, rest = BUCKETS[bucket]
    counted: dict[str, Counter[str]] = {}
    for each in answers:
        counted.setdefault(each.at[:length], Counter())[each.label] += 1
    return [
        MixWindow(
            start=read_moment(start + rest),
            answers=counts.total(),
            shares={label: intervals.wilson(counts[label], counts.total()) for label in labels},
        )
        for start, counts in sorted(counted.items())
    ]


def judge(
    answers: Sequence[Answered], counts: Mapping[str, float], *, threshold: float
) -> MixVerdict:
    """Return whether the mix of the answers, in their order, is that of the reference.

    Args:
        answers: Those that are judged, oldest first; none of the reference's.
        counts: Every class of the model → how often it was decided in the reference.
        threshold: Mean answers to a false alarm.
    """
    try:
        detector = ClassMix(counts, threshold=threshold)
    except BaselineError as error:
        return MixVerdict("unwatched", 0.0, threshold, 0, None, str(error))
    changed_at = None
    for each in answers:
        detector.update(each.label)
        if changed_at is None and detector.alarmed_at is not None:
            changed_at = read_moment(each.at)
    return MixVerdict(
        _STATES[detector.level],
        detector.statistic,
        detector.threshold,
        detector.observations,
        changed_at,
    )


def most_frequent(answers: Sequence[Answered], most: int) -> Sequence[str]:
    """Return the classes that were decided most often, by falling count, then by name."""
    counted = Counter(each.label for each in answers)
    ranked = sorted(counted.items(), key=lambda each: (-each[1], each[0]))
    return [label for label, _ in ranked[:most]]
