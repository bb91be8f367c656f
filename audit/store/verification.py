"""Finds what was changed behind the store's back: edits, deletions, insertions, a cut, a restore.

Three witnesses: the chain (each event against the one before), the seals (made with a key from
outside the database) and the anchors (where the chain stood, kept outside). The projections are
compared with the payloads that they come from.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from audit import records
from audit.canonical import moment
from audit.errors import RecordError
from audit.store import chain, projections, tables, waiting
from audit.store.anchors import Anchor

# More findings than this add nothing to what has to be done.
ENOUGH = 100
# Events between two reports of progress.
REPORTED = 1000


class Tampering(StrEnum):
    """What seems to have happened."""

    EDITED = "edited"
    DELETED = "deleted"
    INSERTED = "inserted"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    RESTORED = "restored from an older copy"
    UNERASED = "erased content is back"
    UNANCHORED = "no anchor: the end of the chain cannot be vouched for"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not fit.

    Attributes:
        tampering: What seems to have happened.
        seq: The event where it shows.
        detail: What was compared with what.
    """

    tampering: Tampering
    seq: int
    detail: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of a check.

    Attributes:
        events: How many events were checked.
        erased: How many of them have no content any more, by the record.
        anchors: How many anchors were compared.
        head: Sequence number of the last event.
        findings: What does not fit; empty when everything does.
    """

    events: int
    erased: int
    anchors: int
    head: int
    findings: Sequence[Finding]

    @property
    def intact(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


@dataclass(slots=True)
class _Walk:
    """What the walk along the chain has seen so far."""

    key: bytes
    anchors: Mapping[int, Sequence[Anchor]]
    seq: int = 0
    link: str = chain.GENESIS
    events: int = 0
    findings: list[Finding] = field(default_factory=list)
    positions: dict[str, tuple[int, int]] = field(default_factory=dict)
    erased: set[int] = field(default_factory=set)
    without: set[int] = field(default_factory=set)
    truths: list[tuple[int, str, str | None]] = field(default_factory=list)

    def found(self, tampering: Tampering, seq: int, detail: str) -> None:
        if len(self.findings) < ENOUGH:
            self.findings.append(Finding(tampering, seq, detail))


def verify(
    engine: Engine,
    *,
    key: bytes,
    anchors: Sequence[Anchor],
    report: Callable[[int], None] | None = None,
) -> Verification:
    """Check a whole store.

    Args:
        engine: As opened by `connections.open_reader`.
        key: The chain key of this installation.
        anchors: From `AnchorFolder.read`, of this store.
        report: Told now and then how many events have been checked.

    Returns:
        What was checked and what was found.
    """
    by_seq: dict[int, list[Anchor]] = {}
    for anchor in anchors:
        by_seq.setdefault(anchor.seq, []).append(anchor)
    walk = _Walk(key, by_seq)
    with engine.begin() as connection:
        for row in _rows(connection):
            _check_event(walk, row)
            _check_payload(walk, row)
            if report is not None and walk.events % REPORTED == 0:
                report(walk.events)
        _check_erasures(walk)
        _check_truths(walk, connection)
        _check_strays(walk, connection)
        _check_end(walk, connection, anchors)
    return Verification(
        walk.events, len(walk.without), len(anchors), walk.seq, tuple(walk.findings)
    )


def _rows(connection: Connection) -> Iterator[Any]:
    events, payloads, predictions = tables.events, tables.payloads, tables.predictions
    together = events.outerjoin(payloads, events.c.seq == payloads.c.seq).outerjoin(
        predictions, events.c.seq == predictions.c.seq
    )
    shown = [
        column.label(f"p_{column.name}")
        for column in predictions.c
        if column.name not in {"label", "verdict"}
    ]
    wanted = (
        sa.select(events, payloads.c.body, payloads.c.secret, payloads.c.subject, *shown)
        .select_from(together)
        .order_by(events.c.seq)
    )
    return iter(connection.execution_options(yield_per=500).execute(wanted).mappings())


def _check_event(walk: _Walk, row: Mapping[str, Any]) -> None:
    seq = row["seq"]
    if seq != walk.seq + 1:
        walk.found(Tampering.DELETED, seq, f"events {walk.seq + 1} to {seq - 1} are missing")
    position = (row["segment"], row["offset"])
    reordered = position <= walk.positions.get(row["source"], (-1, -1))
    if reordered:
        walk.found(Tampering.REORDERED, seq, "it comes before its predecessor of the same source")
    walk.positions[row["source"]] = position
    if row["link"] != chain.link(walk.link, row) and seq == walk.seq + 1 and not reordered:
        walk.found(Tampering.EDITED, seq, "its header does not fit its link")
    if row["seal"] != chain.seal(walk.key, row["link"]):
        walk.found(Tampering.INSERTED, seq, "its link was not sealed by this installation")
    for anchor in walk.anchors.get(seq, ()):
        if anchor.link != row["link"]:
            walk.found(
                Tampering.EDITED, seq, f"the anchor of {moment(anchor.at)} has another link"
            )
    walk.seq, walk.link, walk.events = seq, row["link"], walk.events + 1


def _check_payload(walk: _Walk, row: Mapping[str, Any]) -> None:
    seq = row["seq"]
    if row["body"] is None:
        walk.without.add(seq)
        return
    body = bytes(row["body"])
    if row["commitment"] != chain.commit(bytes(row["secret"]), body):
        walk.found(Tampering.EDITED, seq, "its content does not fit its commitment")
        return
    try:
        event = records.from_bytes(body)
    except RecordError as error:  # committed to, yet unreadable: written by another program
        walk.found(Tampering.EDITED, seq, f"its content is no record: {error}")
        return
    if isinstance(event, records.ErasureEvent):
        walk.erased.update(event.sequences)
    if isinstance(event, waiting.TRUTHS):
        walk.truths.append((seq, event.prediction_id, row["subject"]))
    elif row["subject"] != event.subject:
        walk.found(Tampering.EDITED, seq, "its content is kept under another subject")
    if isinstance(event, records.PredictionRecord):
        _check_projection(walk, row, projections.prediction_row(seq, event))


def _check_projection(walk: _Walk, row: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if row["p_seq"] is None:
        walk.found(Tampering.DELETED, wanted["seq"], "its row in predictions is missing")
        return
    # The image expires before the rest.
    differing = [
        name
        for name, value in wanted.items()
        if row[f"p_{name}"] != value and not (name == "image" and row["p_image"] is None)
    ]
    if differing:
        detail = f"its row in predictions has another {', '.join(differing)}"
        walk.found(Tampering.EDITED, wanted["seq"], detail)


def _check_erasures(walk: _Walk) -> None:
    for seq in sorted(walk.without - walk.erased):
        walk.found(Tampering.DELETED, seq, "its content is gone, and no erasure is recorded")
    for seq in sorted(walk.erased - walk.without):
        walk.found(Tampering.UNERASED, seq, "an erasure is recorded, yet its content is there")


def _check_truths(walk: _Walk, connection: Connection) -> None:
    """What is said about an answer must have been applied to it, and go when its subject goes."""
    for seq in waiting.kept_waiting(connection):
        walk.found(Tampering.EDITED, seq, "it waits for its answer, which is there")
    for seq in waiting.other_subjects(connection, walk.truths):
        walk.found(Tampering.EDITED, seq, "its subject is not that of the answer it is about")


def _check_strays(walk: _Walk, connection: Connection) -> None:
    for table in (tables.payloads, tables.predictions, tables.measures, tables.comparisons):
        known = sa.select(tables.events.c.seq).where(tables.events.c.seq == table.c.seq)
        stray = sa.select(table.c.seq).where(~known.exists()).limit(ENOUGH)
        for row in connection.execute(stray):
            walk.found(Tampering.INSERTED, row.seq, f"a row of {table.name} belongs to no event")


def _check_end(walk: _Walk, connection: Connection, anchors: Sequence[Anchor]) -> None:
    store_id = connection.execute(sa.select(tables.identity.c.store_id)).scalar()
    end = connection.execute(sa.select(tables.head)).first()
    agrees = end is not None and (end.seq, end.link) == (walk.seq, walk.link)
    if end is not None and end.seq > walk.seq:
        walk.found(Tampering.TRUNCATED, walk.seq, f"the head says {end.seq} events")
    elif not agrees:
        walk.found(Tampering.INSERTED, walk.seq, "the head does not fit the last event")
    if not anchors and walk.seq:
        walk.found(Tampering.UNANCHORED, walk.seq, "there is no anchor")
    if any(anchor.store_id != store_id for anchor in anchors):
        walk.found(Tampering.RESTORED, walk.seq, "the anchors are those of another store")
    last = max((anchor.seq for anchor in anchors), default=0)
    if last > walk.seq:
        kind = Tampering.RESTORED if agrees else Tampering.TRUNCATED
        walk.found(kind, walk.seq, f"the anchors know {last} events")
