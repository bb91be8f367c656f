"""Models, their versions, and which of them answers."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path

from models.champion import Champion
from models.registry import Version
from services import clock
from services.contract.predictions import (
    ModelList,
    ModelReply,
    Move,
    PromotionRequest,
    RollbackRequest,
    VersionList,
    VersionNumber,
    VersionReply,
)
from services.errors import RequestError
from services.routes.depending import Asking, Connected, Cursor, Limit, Name, refusals
from services.versions.cautions import cautions
from services.wiring import Serving

router = APIRouter(prefix="/v1/models", tags=["models"])
_MOVES = 20  # of a champion pointer, in the reply about its model


@router.get("", summary="All models", responses=refusals(409, 422))
def models(serving: Connected, cursor: Cursor = None, limit: Limit = 50) -> ModelList:
    """List the models of the registry by name."""
    names = [name for name in serving.registry.models() if cursor is None or name > cursor]
    page = names[:limit]
    return ModelList(
        items=[_model(serving, name) for name in page],
        next=page[-1] if len(names) > limit else None,
    )


@router.get("/{model}", summary="One model", responses=refusals(404, 409, 422))
def model(model: Name, serving: Connected) -> ModelReply:
    """Say which version answers, which there are, and how the champion pointer moved."""
    return _model(serving, model)


@router.get("/{model}/versions", summary="A model's versions", responses=refusals(404, 409, 422))
def versions(
    model: Name, serving: Connected, cursor: Cursor = None, limit: Limit = 50
) -> VersionList:
    """List the versions with their cards, newest first."""
    if cursor is not None and not cursor.isdecimal():
        raise RequestError("cursor is not one that was given out here")
    newest_first = [
        each
        for each in reversed(serving.registry.versions(model))
        if cursor is None or each.ref.version < int(cursor)
    ]
    page, pointer = newest_first[:limit], serving.registry.pointer(model)
    return VersionList(
        items=[_version(serving, each, pointer) for each in page],
        next=str(page[-1].ref.version) if len(newest_first) > limit else None,
    )


@router.get(
    "/{model}/versions/{version}", summary="One version", responses=refusals(404, 409, 422)
)
def version(
    model: Name, version: Annotated[VersionNumber, Path()], serving: Connected
) -> VersionReply:
    """Return a version's card: preprocessing, classes, measures, lineage, libraries, files."""
    found = serving.registry.version(model, version)
    return _version(serving, found, serving.registry.pointer(model))


@router.post(
    "/{model}/promotions",
    summary="Make a version the champion",
    responses=refusals(400, 404, 408, 409, 413, 422, 429, 503),
)
def promote(
    model: Name, wish: PromotionRequest, serving: Connected, asking: Asking
) -> VersionReply:
    """Move the champion pointer; every worker follows within moments, without a failed request."""
    chosen = serving.mover.promote(
        model,
        wish.version,
        reason=wish.reason,
        actor=asking.actor(wish.actor),
        now=clock.now(),
        expected=wish.expected,
    )
    serving.champions.refresh()
    return _version(serving, chosen, serving.registry.pointer(model))


@router.post(
    "/{model}/rollbacks",
    summary="Make the champion before this one the champion again",
    responses=refusals(400, 404, 408, 409, 413, 422, 429),
)
def roll_back(
    model: Name, wish: RollbackRequest, serving: Connected, asking: Asking
) -> VersionReply:
    """Undo the last promotion that still stands; 409 where there is none."""
    who = asking.actor(wish.actor)
    chosen = serving.mover.rollback(model, reason=wish.reason, actor=who, now=clock.now())
    serving.champions.refresh()
    return _version(serving, chosen, serving.registry.pointer(model))


def _model(serving: Serving, name: str) -> ModelReply:
    numbers = [each.ref.version for each in serving.registry.versions(name)]
    pointer = serving.registry.pointer(name)
    moves = [Move.model_validate(asdict(move)) for move in reversed(pointer.history[-_MOVES:])]
    return ModelReply(name=name, champion=pointer.version, versions=numbers, history=moves)


def _version(serving: Serving, version: Version, pointer: Champion) -> VersionReply:
    card = version.card.as_json()
    return VersionReply(
        name=version.ref.name,
        version=version.ref.version,
        digest=version.ref.digest,
        champion=pointer.version == version.ref.version,
        created_at=card.pop("created_at"),
        cautions=cautions(serving.registry, version),
        card={
            key: value for key, value in card.items() if key not in {"name", "version", "digest"}
        },
    )
