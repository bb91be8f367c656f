"""Whether a model is right for the right reasons, in one sentence."""

from fastapi import APIRouter

from audit import standing, verdict
from audit.verdict import Verdict
from services import clock
from services.answering import health
from services.contract.audits import VerdictReply
from services.retraining import pointing
from services.routes import operations
from services.routes.depending import Connected, Name, refusals
from services.wiring import Serving

router = APIRouter(prefix="/v1/models/{model}/verdict", tags=["audit"])


@router.get("", summary="The verdict on its reasons", responses=refusals(404, 409, 422, 503))
def reasons(model: Name, serving: Connected) -> VerdictReply:
    """Say whether the champion is right for the right reasons, and what to do next.

    It says no more than the intervals of what was measured carry.
    """
    serving.registry.versions(model)
    found = judged(serving, model)
    return VerdictReply(
        model=model,
        kind=found.kind,
        colour=found.colour,
        sentence=found.sentence,
        next_step=found.step,
        next_step_label=found.label,
    )


def judged(serving: Serving, model: str) -> Verdict:
    """Return the verdict on a model's champion."""
    store, now = serving.store(), clock.now()
    pointer = pointing.pointer(serving.registry, serving.retrainings, model)
    if store is None:
        return verdict.judge(standing.unaudited(pointer), now=now)
    with store.connected() as connection:
        known = standing.glanced(connection, model, pointer, now=now)
    if not health.is_watched(operations.troubles(serving)):
        known = standing.unwatched(known)
    return verdict.judge(known, now=now)
