"""What the store knows about a model's champion: the facts that a verdict is judged from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit import recent
from audit.canonical import read_moment
from audit.recent import RELIANCE, Glance
from audit.store import states, tables
from audit.verdict import REASONS, Beyond, Known, Raised
from audit.watch.watched import WARM_UP, Watched

STANDING = ("alarm", "acknowledged", "requested")


@dataclass(frozen=True, slots=True)
class Pointer:
    """What the registry and the record of retrainings say, for the verdict.

    Attributes:
        version: The champion; None where no version answers.
        promoted: When it was promoted; None where that is not known.
        trial: Version on trial and its phase; None for none.
        retraining: Whether a retraining is under way.
    """

    version: int | None
    promoted: datetime | None = None
    trial: tuple[int, str] | None = None
    retraining: bool = False


def unaudited(pointer: Pointer) -> Known:
    """Return what is known of a champion where there is no audit store."""
    return Known(
        version=pointer.version,
        audited=False,
        trial=pointer.trial,
        retraining=pointer.retraining,
        promoted=pointer.promoted,
    )


def unwatched(found: Known) -> Known:
    """Return what is known where nobody works on the audit now.

    What was known is no verdict of now; an alarm that stands is told all the same.
    """
    return found if found.raised else replace(found, audited=False)


def known(connection: Connection, model: str, pointer: Pointer, glance: Glance) -> Known:
    """Return what is known about the reasons of a model's champion.

    Args:
        connection: To the store.
        model: The model's name.
        pointer: What the registry says of it.
        glance: Its latest answers, as `recent.glance` gives them.
    """
    recall = glance.trends.get("relevance_mass")
    reliance = glance.trends.get(RELIANCE)
    return Known(
        version=pointer.version,
        answers=glance.answers,
        with_region=glance.with_region,
        raised=_raised(connection, model, pointer.version),
        reliance=reliance.estimate if reliance else None,
        reliance_measure=RELIANCE,
        recall=Beyond(recall.estimate, recall.chance) if recall else None,
        learning=_learning(connection, model, pointer.version),
        trial=pointer.trial,
        retraining=pointer.retraining,
        promoted=pointer.promoted,
    )


def glanced(connection: Connection, model: str, pointer: Pointer, *, now: datetime) -> Known:
    """Return the same for whoever has no glance at hand."""
    return known(
        connection, model, pointer, recent.glance(connection, model, pointer.version, now=now)
    )


def _raised(connection: Connection, model: str, version: int | None) -> Sequence[Raised]:
    table = tables.alarms
    wanted = (
        sa.select(table)
        .where(table.c.model == model, table.c.state.in_(STANDING))
        .order_by(table.c.raised_at)
    )
    references = {} if version is None else _references(connection, model, version)
    return [
        Raised(
            measure=row.measure,
            class_label=row.class_label,
            state=row.state,
            since=read_moment(row.raised_at),
            reference=references.get(row.alarm_id),
        )
        for row in connection.execute(wanted)
        if version is None or row.version == version
    ]


def _references(connection: Connection, model: str, version: int) -> dict[str, float]:
    watches = map(Watched.from_text, states.of_version(connection, model, version))
    return {each.alarm.alarm_id: each.reference.mean for each in watches if each.reference}


def _learning(connection: Connection, model: str, version: int | None) -> tuple[int, int] | None:
    if version is None:
        return None
    about = [
        each
        for each in map(Watched.from_text, states.of_version(connection, model, version))
        if each.series.measure in REASONS | {RELIANCE} and not each.unwatchable
    ]
    if not about or any(each.detector is not None for each in about):
        return None
    return max(len(each.warming) for each in about), WARM_UP
