"""What the store knows about a candidate on trial."""

from collections.abc import Sequence
from statistics import median

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit import policy
from audit.canonical import moment
from audit.comparisons import ComparisonRecord
from audit.rollout import Evidence
from audit.store import tables

STANDING = ("alarm", "acknowledged", "requested")
# Medians and means look at so many of the latest images.
LATEST = 1000


def project(connection: Connection, seq: int, event: ComparisonRecord) -> None:
    """Add the row of one image."""
    connection.execute(
        sa.insert(tables.comparisons).values(
            seq=seq,
            rollout_id=event.rollout_id,
            phase=event.phase,
            prediction_id=event.prediction_id,
            event_time=moment(event.event_time),
            failure=event.failure,
            agrees=event.agrees,
            recall_fall=event.recall_fall,
            milliseconds=event.milliseconds,
            champion_milliseconds=event.champion_milliseconds,
            dropped=event.dropped,
        )
    )


def evidence(
    connection: Connection, rollout_id: str, phase: str, *, alarms: Sequence[str] = ()
) -> Evidence:
    """Return what is known about a candidate in one phase.

    Args:
        connection: To the store.
        rollout_id: Its rollout.
        phase: The phase.
        alarms: Its standing alarms, as `standing` returns them.
    """
    table = tables.comparisons
    which = (table.c.rollout_id == rollout_id) & (table.c.phase == phase)
    asked = sa.case((table.c.prediction_id != "", 1), else_=0)
    failed = sa.case(((table.c.failure != "") & (table.c.prediction_id != ""), 1), else_=0)
    both = sa.case((table.c.agrees.is_not(None), 1), else_=0)
    differed = sa.case((table.c.agrees.is_(sa.false()), 1), else_=0)
    sums = [sa.func.coalesce(sa.func.sum(each), 0) for each in (asked, failed, both, differed)]
    dropped = sa.func.coalesce(sa.func.sum(table.c.dropped), 0)
    counted = sa.select(sa.func.count(), *sums, dropped).where(which)
    row = connection.execute(counted).one()
    last = sa.select(table.c.failure).where(which, table.c.failure != "")
    failure = connection.execute(last.order_by(table.c.seq.desc()).limit(1)).scalar()
    latest = sa.select(table).where(which).order_by(table.c.seq.desc()).limit(LATEST)
    rows = connection.execute(latest).all()
    return Evidence(
        requests=row[1],
        failed=row[2],
        failure=failure or "",
        unusable=row[0] - row[1],
        compared=row[3],
        differed=row[4],
        dropped=row[5],
        falls=tuple(each.recall_fall for each in rows if each.recall_fall is not None),
        milliseconds=_median([each.milliseconds for each in rows]),
        champion_milliseconds=_median([each.champion_milliseconds for each in rows]),
        alarms=tuple(alarms),
    )


def standing(connection: Connection, model: str, version: int, *, since: str) -> Sequence[str]:
    """Return the alarms of a version that could ask for a retraining, as sentences.

    Args:
        connection: To the store.
        model: The model's name.
        version: Its version.
        since: Raised from then on, a canonical moment.
    """
    table = tables.alarms
    wanted = sa.select(table).where(
        table.c.model == model,
        table.c.version == version,
        table.c.state.in_(STANDING),
        table.c.measure.in_(policy.Plan().measures),
        table.c.raised_at >= since,
    )
    return [
        f"alarm {row.alarm_id}: {row.measure} is too {row.side}"
        + (f" for class {row.class_label}" if row.class_label else "")
        for row in connection.execute(wanted.order_by(table.c.seq))
    ]


def _median(values: Sequence[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return median(known) if known else None
