"""The search for suspected shortcuts: the latest heatmaps of a class, grouped by their look."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from audit import canonical, clusters, records
from audit.canonical import Packed
from audit.clusters import Suspicion
from audit.store import suspicions, tables
from audit.store.ledger import Batch
from audit.suspicions import Suspected, SuspicionEvent

# The mean heatmap of fewer answers would say too much about each of them.
SMALLEST = 5
# Answers behind the head that are looked at when a restarted auditor counts what is new.
RECALLED = 20_000


class Group(NamedTuple):
    """The answers that are compared with each other.

    Attributes:
        model: The model's name.
        version: Its version.
        class_label: The decided class.
    """

    model: str
    version: int
    class_label: str


def search(batch: Batch, group: Group, *, most: int, event_id: str) -> SuspicionEvent | None:
    """Group the latest heatmaps of a class and write down what was found.

    Args:
        batch: The transaction.
        group: Whose answers.
        most: The most answers, at most `clusters.MOST`.
        event_id: Of the event.

    Returns:
        The event, which is in the chain; None where too few answers have a heatmap that speaks.
    """
    ids, heatmaps = latest(batch.connection, group, most=most)
    if sum(bool(each.any()) for each in heatmaps) < clusters.FEWEST:
        return None
    grouping = clusters.grouped(ids, np.stack(heatmaps))
    named = [each for each in grouping.suspicions if len(each.members) >= SMALLEST]
    looks = list(suspicions.known_looks(batch.connection, *group))
    event = SuspicionEvent(
        event_id=event_id,
        event_time=batch.now,
        model=group.model,
        version=group.version,
        class_label=group.class_label,
        answers=grouping.answers,
        eigengap=grouping.eigengap,
        groups=len(grouping.suspicions),
        found=tuple(_suspected(each, looks, event_id) for each in named),
    )
    batch.append(event)
    return event


def latest(
    connection: Connection, group: Group, *, most: int
) -> tuple[list[str], list[NDArray[np.float32]]]:
    """Return ids and heatmaps of a class's latest live answers that explain that class."""
    table, payloads = tables.predictions, tables.payloads
    wanted = (
        sa.select(payloads.c.body)
        .join(table, table.c.seq == payloads.c.seq)
        .where(table.c.model == group.model, table.c.version == group.version)
        .where(table.c.class_label == group.class_label)
        .where(table.c.stream == "live", ~table.c.erased)
        .order_by(table.c.seq.desc())
        .limit(most)
    )
    ids, heatmaps, shape = [], [], None
    for body in connection.execute(wanted).scalars().all():
        event = records.from_bytes(bytes(body))
        if not isinstance(event, records.PredictionRecord):
            continue
        shape = shape or event.heatmap.shape
        if event.target.index == event.decided.index and event.heatmap.shape == shape:
            ids.append(event.event_id)
            heatmaps.append(canonical.shares(event.heatmap))
    return ids, heatmaps


def recall_counts(connection: Connection) -> dict[Group, int]:
    """Return how many recent answers of each class came since its last grouping."""
    table, found = tables.predictions, tables.suspicions
    head = connection.execute(sa.select(sa.func.max(table.c.seq))).scalar() or 0
    keys = (table.c.model, table.c.version, table.c.class_label)
    same = [found.c[each.name] == each for each in keys]
    last = sa.select(sa.func.coalesce(sa.func.max(found.c.seq), 0)).where(*same)
    counted = (
        sa.select(*keys, sa.func.count())
        .where(table.c.seq > head - RECALLED, table.c.stream == "live")
        .where(table.c.seq > last.correlate(table).scalar_subquery())
        .group_by(*keys)
    )
    return {Group(row[0], row[1], row[2]): row[3] for row in connection.execute(counted)}


def classes_of(connection: Connection, model: str) -> Sequence[Group]:
    """Return the version that answered last of a model with each class it has decided."""
    table = tables.predictions
    of_model = [table.c.model == model, table.c.stream == "live"]
    newest = sa.select(table.c.version).where(*of_model).order_by(table.c.event_time.desc())
    version = connection.execute(newest.limit(1)).scalar()
    wanted = sa.select(table.c.class_label).where(*of_model, table.c.version == version).distinct()
    return [
        Group(model, version, label)
        for label in sorted(connection.execute(wanted).scalars())
        if version is not None
    ]


def _suspected(
    found: Suspicion, looks: list[tuple[str, NDArray[np.float64]]], event_id: str
) -> Suspected:
    """Give a group the id of the known one that looks the same, which no other gets then."""
    alike = [each for each in looks if clusters.look_same(each[1], found.heatmap)]
    if alike:
        name = alike[0][0]
        looks[:] = [each for each in looks if each[0] != name]
    else:
        name = hashlib.sha256(f"{event_id}\n{found.members[0]}".encode()).hexdigest()[:26]
    return Suspected(
        suspicion_id=name,
        size=len(found.members),
        share=found.share,
        heatmap=Packed.of(found.heatmap, "<f4"),
        focus=float(found.focus),
        distance=found.distance,
        score=found.score,
        examples=found.examples,
    )
