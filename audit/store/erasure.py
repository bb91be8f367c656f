"""Erasure: of a person's data on request, and of everybody's when its time is over.

What goes is the content and the secret behind its commitment; the chain stays whole. What stays
are numbers about the model (confidence, measures, the answered class) that name nobody.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit import records
from audit.canonical import moment
from audit.errors import StoreError
from audit.store import tables, waiting
from audit.store.ledger import Batch

# The least that the EU AI Act asks of a deployer, article 26(6): six months of logs.
SHORTEST_EVENTS = timedelta(days=183)
Identify: TypeAlias = Callable[[], str]
# Prediction ids → "name/version" of the models that learned from them; leaves their manifests.
Forget: TypeAlias = Callable[[Sequence[str]], Sequence[str]]
# How many rows are named in one statement and in one event.
AT_ONCE = 500
# The most of a kind that one look expires, so that a mistake is seen before all is gone; a kind of
# no more than `AT_ONCE` may go at once.
SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what is kept.

    Attributes:
        images: The recorded pixels.
        evidence: Heatmaps, regions, embeddings, probabilities.
        events: Everything else; None for ever.
        hold: Subjects whose data must not expire (a legal hold); erasure on request still works.
    """

    images: timedelta = timedelta(days=30)
    evidence: timedelta = timedelta(days=365)
    events: timedelta | None = None
    hold: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.events is not None and self.events < SHORTEST_EVENTS:
            raise StoreError(f"events are kept for at least {SHORTEST_EVENTS.days} days")


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure has taken.

    Attributes:
        sequences: Sequence numbers of the payloads.
        images: Addresses of the images, which the caller deletes from their folder.
        versions: "name/version" of models that had learned from what is gone.
    """

    sequences: tuple[int, ...] = ()
    images: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()

    def __add__(self, other: "Erased") -> "Erased":
        return Erased(
            self.sequences + other.sequences,
            self.images + other.images,
            self.versions + other.versions,
        )


def asked(connection: Connection) -> int | None:
    """Return the number of the latest erasure that was asked for and not done; None for none."""
    table = tables.erasures
    return connection.execute(
        sa.select(sa.func.max(table.c.seq)).where(table.c.done_at.is_(None))
    ).scalar()


def erase_requested(
    batch: Batch, *, identify: Identify, forget: Forget, until: int | None = None
) -> Erased:
    """Carry out the erasures that were asked for and not yet done.

    What was said about erased answers, and arrived after their erasure, goes as well.

    Args:
        batch: The transaction.
        until: The last request to carry out, by number: all that was recorded before it must be
            ingested. None for all.
        identify: Makes ids for the events that say what was erased.
        forget: Takes predictions out of training manifests; says which models had learned from
            them.
    """
    table, total = tables.erasures, Erased()
    due = sa.select(table).where(table.c.done_at.is_(None))
    if until is not None:
        due = due.where(table.c.seq <= until)
    for request in batch.connection.execute(due).all():
        subject = tables.payloads.c.subject == request.subject
        total += _erase(
            batch,
            subject,
            reason="subject",
            actor=request.actor,
            identify=identify,
            forget=forget,
        )
        done = sa.update(table).where(table.c.event_id == request.event_id)
        # The name goes too; that there was a request stays.
        batch.connection.execute(done.values(subject=None, done_at=moment(batch.now)))
    if left := waiting.left_behind(batch.connection):
        total += _erase(
            batch,
            tables.payloads.c.seq.in_(left),
            reason="subject",
            actor="auditor",
            identify=identify,
            forget=forget,
        )
    return total


def expire(batch: Batch, plan: Retention, *, identify: Identify) -> Erased:
    """Erase what has been kept long enough, of each kind no more than a share at a time.

    Returns:
        What was erased; nothing means that nothing is left to do now.
    """
    images = _expire_images(batch, plan, identify)
    total = Erased(images=images)
    for name, age in (("evidence", plan.evidence), ("event", plan.events)):
        if age is None:
            continue
        payloads = tables.payloads
        old = (payloads.c.retention == name) & (payloads.c.ingested_at < moment(batch.now - age))
        free = payloads.c.subject.is_(None) | payloads.c.subject.not_in(plan.hold)
        # An erasure's own record is what explains a missing payload: it stays.
        kept = sa.select(tables.events.c.seq).where(tables.events.c.kind == "erasure")
        due = old & free & payloads.c.seq.not_in(kept)
        most = _most(batch.connection, payloads.c.seq, payloads.c.retention == name)
        limited = sa.select(payloads.c.seq).where(due).order_by(payloads.c.seq).limit(most)
        total += _erase(
            batch,
            payloads.c.seq.in_(limited),
            reason=f"retention: {name}",
            actor="auditor",
            identify=identify,
            forget=lambda _: (),
        )
    return total


def _erase(
    batch: Batch,
    which: sa.ColumnElement[bool],
    *,
    reason: str,
    actor: str,
    identify: Identify,
    forget: Forget,
) -> Erased:
    connection, total = batch.connection, Erased()
    wanted = sa.select(tables.payloads.c.seq).where(which).order_by(tables.payloads.c.seq)
    found = connection.execute(wanted).scalars().all()
    for start in range(0, len(found), AT_ONCE):
        sequences = found[start : start + AT_ONCE]
        table = tables.predictions
        answers = connection.execute(sa.select(table).where(table.c.seq.in_(sequences))).all()
        images = tuple(row.image for row in answers if row.image)
        versions = tuple(forget([row.prediction_id for row in answers]))
        connection.execute(sa.delete(tables.payloads).where(tables.payloads.c.seq.in_(sequences)))
        blank = {"image": None, "label": None, "verdict": None, "erased": True}
        connection.execute(sa.update(table).where(table.c.seq.in_(sequences)).values(**blank))
        if reason == "subject":
            waiting.forget(connection, [row.prediction_id for row in answers])
        waits = tables.waiting
        connection.execute(sa.delete(waits).where(waits.c.seq.in_(sequences)))
        shown = tables.suspicions  # only ever by retention: it names no subject
        connection.execute(sa.delete(shown).where(shown.c.seq.in_(sequences)))
        erased = Erased(tuple(sequences), images, versions)
        batch.append(
            records.ErasureEvent(
                event_id=identify(),
                event_time=batch.now,
                sequences=erased.sequences,
                images=erased.images,
                reason=reason,
                actor=actor,
                versions=erased.versions,
            )
        )
        total += erased
    return total


def _expire_images(batch: Batch, plan: Retention, identify: Identify) -> tuple[str, ...]:
    table, payloads = tables.predictions, tables.payloads
    held = sa.select(payloads.c.seq).where(payloads.c.subject.in_(plan.hold))
    old = table.c.event_time < moment(batch.now - plan.images)
    due = sa.select(table.c.image).where(table.c.image.is_not(None), old, table.c.seq.not_in(held))
    most = _most(batch.connection, table.c.seq, table.c.image.is_not(None))
    found = tuple(batch.connection.execute(due.order_by(table.c.seq).limit(most)).scalars())
    for start in range(0, len(found), AT_ONCE):
        images = found[start : start + AT_ONCE]
        gone = sa.update(table).where(table.c.image.in_(images))
        batch.connection.execute(gone.values(image=None))
        batch.append(
            records.ErasureEvent(
                event_id=identify(),
                event_time=batch.now,
                sequences=(),
                images=images,
                reason="retention: images",
                actor="auditor",
            )
        )
    return found


def _most(connection: Connection, column: sa.Column[int], which: sa.ColumnElement[bool]) -> int:
    """Return how many rows of a kind may expire at a time."""
    there = connection.execute(sa.select(sa.func.count(column)).where(which)).scalar_one()
    return max(AT_ONCE, int(SHARE * there))
