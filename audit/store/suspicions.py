"""Suspected shortcuts in the store: what events change, and what pages read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from audit import records
from audit.canonical import moment
from audit.clusters import SUSPICIOUS
from audit.store import tables
from audit.suspicions import Suspected, SuspicionEvent, SuspicionVerdict


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which suspicions are listed.

    Attributes:
        model: Of this model.
        version: One of its versions; None for all.
        class_label: Of one decided class; None for all.
        verdict: With this verdict; None for all.
        least: With at least this score.
        current: Only what the latest grouping of its class has found again.
    """

    model: str
    version: int | None = None
    class_label: str | None = None
    verdict: SuspicionVerdict | None = None
    least: float = SUSPICIOUS
    current: bool = True


def listed(
    connection: Connection,
    wanted: Wanted,
    *,
    after: tuple[float, str] | None = None,
    limit: int = 50,
) -> Sequence[Mapping[str, Any]]:
    """Return suspicions by falling score, as the columns of `tables.suspicions`.

    Args:
        connection: To the store.
        wanted: Which.
        after: Score and id of the last one of the page before.
        limit: The most rows.
    """
    table = tables.suspicions
    rows = sa.select(table).where(table.c.model == wanted.model, table.c.score >= wanted.least)
    for column, value in (
        (table.c.version, wanted.version),
        (table.c.class_label, wanted.class_label),
        (table.c.verdict, wanted.verdict),
    ):
        if value is not None:
            rows = rows.where(column == value)
    if wanted.current:
        rows = rows.where(table.c.current)
    if after is not None:
        score, name = after
        later = (table.c.score == score) & (table.c.suspicion_id > name)
        rows = rows.where((table.c.score < score) | later)
    ordered = rows.order_by(table.c.score.desc(), table.c.suspicion_id).limit(limit)
    return [_row(connection, row) for row in connection.execute(ordered).mappings()]


def one(connection: Connection, suspicion_id: str) -> Mapping[str, Any] | None:
    """Return one suspicion with its "verdicts", oldest first; None where there is none."""
    table, said = tables.suspicions, tables.suspicion_verdicts
    found = connection.execute(sa.select(table).where(table.c.suspicion_id == suspicion_id))
    row = found.mappings().first()
    if row is None:
        return None
    wanted = sa.select(said).where(said.c.suspicion_id == suspicion_id).order_by(said.c.seq)
    return _row(connection, row) | {"verdicts": list(connection.execute(wanted).mappings())}


def known_looks(
    connection: Connection, model: str, version: int, class_label: str
) -> Sequence[tuple[str, NDArray[np.float64]]]:
    """Return id and mean heatmap of every suspicion of a class, the newest first."""
    table = tables.suspicions
    wanted = (
        sa.select(table.c.suspicion_id, table.c.heatmap)
        .where(table.c.model == model, table.c.version == version)
        .where(table.c.class_label == class_label)
        .order_by(table.c.seq.desc(), table.c.score.desc())
    )
    return [(row[0], np.array(json.loads(row[1]))) for row in connection.execute(wanted)]


def standing(connection: Connection) -> Sequence[tuple[str, int, str, str, float]]:
    """Return model, version, class, verdict and score of what is current and suspicious."""
    table = tables.suspicions
    shown = (table.c.model, table.c.version, table.c.class_label, table.c.verdict, table.c.score)
    wanted = sa.select(*shown).where(table.c.current, table.c.score >= SUSPICIOUS)
    return [(row[0], row[1], row[2], row[3], row[4]) for row in connection.execute(wanted)]


def project(connection: Connection, seq: int, event: SuspicionEvent) -> None:
    """Take what a grouping has found: its groups are current, the class's others no longer."""
    table = tables.suspicions
    same = (
        (table.c.model == event.model)
        & (table.c.version == event.version)
        & (table.c.class_label == event.class_label)
    )
    connection.execute(sa.update(table).where(same).values(current=False))
    for each in event.found:
        values = _columns(seq, event, each)
        known = sa.update(table).where(table.c.suspicion_id == each.suspicion_id)
        if connection.execute(known.values(**values)).rowcount == 0:
            first = {"suspicion_id": each.suspicion_id, "first_found_at": values["found_at"]}
            connection.execute(sa.insert(table).values(**first, **values, verdict="open"))


def judge(connection: Connection, seq: int, event: records.ActionEvent) -> None:
    """Take a person's verdict; a row more, and the suspicion shows the newest."""
    details = event.details
    connection.execute(
        sa.insert(tables.suspicion_verdicts).values(
            seq=seq,
            suspicion_id=details["suspicion_id"],
            event_time=moment(event.event_time),
            verdict=details["verdict"],
            actor=event.actor,
            note=details.get("note", ""),
        )
    )
    table = tables.suspicions
    known = sa.update(table).where(table.c.suspicion_id == details["suspicion_id"])
    connection.execute(known.values(verdict=details["verdict"]))


def _columns(seq: int, event: SuspicionEvent, each: Suspected) -> dict[str, Any]:
    return {
        "seq": seq,
        "model": event.model,
        "version": event.version,
        "class_label": event.class_label,
        "found_at": moment(event.event_time),
        "current": True,
        "answers": event.answers,
        "groups": event.groups,
        "eigengap": event.eigengap,
        "size": each.size,
        "share": each.share,
        "focus": each.focus,
        "distance": each.distance,
        "score": each.score,
        "heatmap": json.dumps(each.heatmap.array().astype(float).tolist()),
        "examples": json.dumps(each.examples),
    }


def _row(connection: Connection, row: Any) -> dict[str, Any]:  # noqa: ANN401 - columns by name
    """Return a row with its heatmap and those of its examples that are not erased."""
    examples, table = json.loads(row["examples"]), tables.predictions
    kept = sa.select(table.c.prediction_id).where(
        table.c.prediction_id.in_(examples), ~table.c.erased
    )
    there = set(connection.execute(kept).scalars())
    return {
        **row,
        "heatmap": json.loads(row["heatmap"]),
        "examples": [each for each in examples if each in there],
    }
