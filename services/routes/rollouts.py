"""A candidate on trial with live requests: begin, follow, withdraw."""

from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus

from fastapi import APIRouter

from audit import change_control
from models.rollout import Rollout
from services import clock
from services.contract.rollouts import (
    EndedRollout,
    RolloutEvidence,
    RolloutLook,
    RolloutReply,
    RolloutRequest,
    RolloutStatus,
    WithdrawalRequest,
)
from services.identifiers import identifier
from services.rollouts import looks
from services.rollouts.looks import Look
from services.routes.depending import Asking, Connected, Name, refusals
from services.wiring import Serving

router = APIRouter(prefix="/v1/models/{model}", tags=["models"])


@router.get("/rollout", summary="The candidate on trial", responses=refusals(404, 409, 422))
def rollout(model: Name, serving: Connected) -> RolloutStatus:
    """Say which candidate is on trial, what is known about it, and how those before it ended."""
    serving.registry.versions(model)
    return status(serving, model)


@router.post(
    "/rollouts",
    summary="Put a version on trial",
    status_code=HTTPStatus.ACCEPTED,
    responses=refusals(400, 404, 408, 409, 413, 422, 429, 503),
)
def begin(model: Name, wish: RolloutRequest, serving: Connected, asking: Asking) -> RolloutStatus:
    """Let a version answer beside the champion; 409 while another one does.

    The runner looks after it by the change-control plan: withdrawn where an alarm of its own
    rises, where it fails or is too slow; champion after enough evidence.
    """
    plan = change_control.load(serving.settings.change_control or change_control.DEFAULT)
    now = clock.now()
    serving.mover.begin(
        model,
        wish.version,
        rollout_id=identifier(now),
        phase=wish.phase,
        share=plan.canary.share if wish.share is None else wish.share,
        reason=wish.reason,
        actor=asking.actor(wish.actor),
        now=now,
        expected=wish.expected,
        when_quiet=wish.when_quiet or "",
    )
    serving.champions.refresh()
    return status(serving, model)


@router.post(
    "/withdrawals",
    summary="Take the candidate off its trial",
    responses=refusals(400, 404, 408, 409, 413, 422, 429),
)
def withdraw(
    model: Name, wish: WithdrawalRequest, serving: Connected, asking: Asking
) -> RolloutStatus:
    """Let the champion answer everything again; 409 where no candidate is on trial."""
    serving.mover.withdraw(
        model,
        reason=wish.reason,
        actor=asking.actor(wish.actor),
        now=clock.now(),
        rollout_id=wish.rollout_id,
    )
    serving.champions.refresh()
    return status(serving, model)


def status(serving: Serving, model: str) -> RolloutStatus:
    """Return how a model's candidate stands."""
    pointer = serving.registry.pointer(model)
    under_way, look, stale = pointer.rollout, None, False
    if under_way is not None:
        look = looks.read(serving.registry.root / model, under_way.rollout_id)
        since = datetime.fromisoformat(under_way.since)
        stale = looks.is_stale(look, since, now=clock.now())
    return RolloutStatus(
        model=model,
        champion=pointer.version,
        rollout=None if under_way is None else _reply(under_way),
        look=None if look is None else _look(look),
        stale=stale,
        ended=[
            EndedRollout.model_validate({**asdict(each), "rollout": _reply(each.rollout)})
            for each in reversed(pointer.ended)
        ],
    )


def _reply(found: Rollout) -> RolloutReply:
    return RolloutReply.model_validate(asdict(found))


def _look(look: Look) -> RolloutLook:
    evidence = RolloutEvidence.model_validate(look.evidence)
    return RolloutLook(
        at=look.at,
        step=look.step,
        reason=look.reason,
        needed=look.needed,
        seconds=look.seconds,
        evidence=evidence,
    )
