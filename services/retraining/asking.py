"""One way in for every trigger: REST, command line, policy and webhook make the same request."""

from datetime import datetime

from audit.change_control import ChangePlan
from audit.policy import PastRequest
from models.registry import Registry
from services.identifiers import identifier
from services.retraining.rows import Request, Retraining, Rows

_RECENT = 1000  # retrainings that the frequency rules look at


def ask(
    rows: Rows,
    registry: Registry,
    plan: ChangePlan,
    request: Request,
    *,
    key: str | None,
    now: datetime,
) -> Retraining:
    """Write a retraining down; the runner takes it from there.

    Args:
        rows: The record.
        registry: Where the model is.
        plan: What is allowed.
        request: What is asked for.
        key: Asking twice with the same key asks once; None for a request of its own.
        now: The present.

    Raises:
        UnknownModelError: If there is no such model, or it has no champion.
        OutsidePlanError: If the plan does not allow it.
        RetrainingConflictError: If one of the model is active, or the key was used otherwise.
    """
    registry.champion(request.model)
    known = [] if key is None else [e for e in rows.page(model=request.model, limit=_RECENT)
                                    if e.key == key]  # fmt: skip
    if not known:  # a repeated request is not judged twice
        past = [
            PastRequest(each.retraining_id, each.created_at, each.ended)
            for each in rows.page(model=request.model, limit=_RECENT)
        ]
        plan.admit(
            objective=request.objective,
            hyperparameters=request.hyperparameters,
            requests=past,
            now=now,
        )
    return rows.add(identifier(now), request, key=key, now=now)
