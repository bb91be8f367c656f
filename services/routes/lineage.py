"""From an answer back to where it comes from: version, data, recipe, code, libraries, approvers.

Everything is read from what was written down when it happened: the answer's record, the version's
card (its digest covers it), the champion pointer's history and the record of retrainings.
"""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from audit.records import PredictionRecord
from models.champion import Champion
from models.champion import Move as PointerMove
from models.errors import RegistryError
from models.registry import Registry, Version
from models.rollout import Rollout
from services.contract.predictions import ModelVersion, Move, Reply
from services.contract.rollouts import RolloutReply
from services.errors import UnknownRetrainingError
from services.retraining.rows import Rows


class Approver(Reply):
    """What one person said about the candidate."""

    actor: str
    approved: bool
    reason: str
    at: datetime


class RetrainingOrigin(Reply):
    """The retraining that made the version."""

    retraining_id: str
    requested_by: str
    origin: str
    """person, policy or alertmanager."""
    reason: str
    status: str
    approvals: list[Approver]
    verdict: dict[str, Any] | None
    """The gate's."""


class VersionOrigin(Reply):
    """What a version is made of, as its card says."""

    version: int
    digest: str
    created_at: datetime
    dataset: str | None
    """Digest of what it learnt from; null where that is not known."""
    recipe: dict[str, Any]
    """How it learnt: objective, numbers, and where the data are."""
    seeds: list[int]
    libraries: dict[str, str]
    """Library → version, where it was trained or exported; Rightly's own among them."""
    parent: str | None
    """Digest of the version that training began from."""


class LineageReply(Reply):
    """Where an answer comes from."""

    prediction_id: str
    answered_at: datetime
    model: ModelVersion
    role: Literal["champion", "canary", "unknown"]
    """What the version was when it answered; unknown where the pointer's history does not say."""
    promotion: Move | None
    """The move by which it answered; null for a canary."""
    rollout: RolloutReply | None
    """The trial on which it answered; null for a champion."""
    version: VersionOrigin | None
    """Null where the registry has it no longer, or another one under its number."""
    retraining: RetrainingOrigin | None
    """Null where no retraining of this installation made it."""
    ancestors: list[VersionOrigin]
    """The versions that training began from, nearest first, as far as the registry has them."""


def trace(record: PredictionRecord, registry: Registry, rows: Rows) -> LineageReply:
    """Return where an answer comes from.

    Args:
        record: The answer.
        registry: Where its version is.
        rows: The record of retrainings.

    Raises:
        CorruptVersionError: If a card was changed since it was filed.
    """
    name, moment = record.model.name, record.event_time
    pointer = registry.pointer(name)
    version = _version(registry, record)
    move, rollout = _move_at(pointer, record), _rollout_at(pointer, record)
    role: Literal["champion", "canary", "unknown"] = "unknown"
    if rollout is not None:
        role, move = "canary", None
    elif move is not None:
        role = "champion"
    return LineageReply(
        prediction_id=record.prediction_id,
        answered_at=moment,
        model=ModelVersion(**asdict(record.model)),
        role=role,
        promotion=None if move is None else Move.model_validate(asdict(move)),
        rollout=None if rollout is None else RolloutReply.model_validate(asdict(rollout)),
        version=None if version is None else _origin(version),
        retraining=None if version is None else _retraining(version, rows),
        ancestors=[] if version is None else [*_ancestors(registry, version)],
    )


def _version(registry: Registry, record: PredictionRecord) -> Version | None:
    try:
        found = registry.version(record.model.name, record.model.version)
    except RegistryError:
        return None
    return found if found.ref.digest == record.model.digest else None


def _before(pointer: Champion, moment: datetime) -> list[PointerMove]:
    return [each for each in pointer.history if datetime.fromisoformat(each.at) <= moment]


def _move_at(pointer: Champion, record: PredictionRecord) -> PointerMove | None:
    """Return the last move to the version; a worker may answer with it a moment longer."""
    moves = _before(pointer, record.event_time)
    same = (each for each in reversed(moves) if each.digest == record.model.digest)
    return next(same, None)


def _rollout_at(pointer: Champion, record: PredictionRecord) -> Rollout | None:
    """Return the last canary as which the version answered; None where it was champion."""
    moves = _before(pointer, record.event_time)
    if moves and moves[-1].digest == record.model.digest:
        return None
    under_way = [] if pointer.rollout is None else [pointer.rollout]
    for each in (*under_way, *reversed([end.rollout for end in pointer.ended])):
        began = datetime.fromisoformat(each.since) <= record.event_time
        if each.phase == "canary" and each.digest == record.model.digest and began:
            return each
    return None


def _origin(version: Version) -> VersionOrigin:
    lineage = version.card.fields.lineage
    return VersionOrigin(
        version=version.ref.version,
        digest=version.ref.digest,
        created_at=datetime.fromisoformat(version.card.created_at),
        dataset=lineage.dataset,
        recipe=dict(lineage.recipe),
        seeds=list(lineage.seeds),
        libraries=dict(lineage.libraries),
        parent=lineage.parent,
    )


def _retraining(version: Version, rows: Rows) -> RetrainingOrigin | None:
    name = version.card.fields.lineage.recipe.get("retraining")
    if not isinstance(name, str):
        return None
    try:
        found = rows.get(name)
    except UnknownRetrainingError:
        return None
    return RetrainingOrigin(
        retraining_id=name,
        requested_by=found.request.actor,
        origin=found.request.origin,
        reason=found.request.reason,
        status=found.status,
        approvals=[
            Approver(actor=each.actor, approved=each.approved, reason=each.reason, at=each.at)
            for each in rows.approvals(name)
        ],
        verdict=found.facts.get("verdict"),
    )


def _ancestors(registry: Registry, version: Version) -> Iterator[VersionOrigin]:
    by_digest = {each.ref.digest: each for each in registry.versions(version.ref.name)}
    seen = {version.ref.digest}
    parent = version.card.fields.lineage.parent
    while parent in by_digest and parent not in seen:
        found = by_digest[parent]
        yield _origin(found)
        seen.add(parent)
        parent = found.card.fields.lineage.parent
