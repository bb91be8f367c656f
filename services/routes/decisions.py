"""Why a retraining was asked for, and why not."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from audit.canonical import read_moment
from audit.decided import DecisionEvent, Reason
from audit.store import decisions
from services.contract.decisions import (
    DecisionList,
    DecisionReply,
    ReasonReply,
    RequestList,
    RequestReply,
)
from services.errors import RequestError
from services.routes.depending import Connected, Cursor, Limit, Name, refusals

router = APIRouter(prefix="/v1", tags=["audit"])
_DIGITS = 19  # of a cursor: it fits SQL


@router.get(
    "/models/{model}/audit/decisions",
    summary="Decisions of the policy",
    responses=refusals(404, 409, 422, 503),
)
def decided(
    model: Name, serving: Connected, *, cursor: Cursor = None, limit: Limit = 50
) -> DecisionList:
    """List what the policy decided about the alarms of a model, newest first."""
    serving.registry.versions(model)
    with serving.store.require().connected() as connection:
        found = decisions.decided(connection, model, before=_place(cursor), limit=limit + 1)
    page = found[:limit]
    return DecisionList(
        items=[_decision(event) for _, event in page],
        next=str(page[-1][0]) if len(found) > limit else None,
    )


@router.get("/requests", summary="Requests for retrainings", responses=refusals(422, 503))
def requested(
    serving: Connected,
    *,
    model: Annotated[str | None, Query(max_length=63, pattern="^[a-z0-9_-]*$")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> RequestList:
    """List the requests of the policy and of Alertmanager, newest first, with why one was refused.

    What became of one that was taken up is at `/v1/retrainings`.
    """
    with serving.store.require().connected() as connection:
        found = decisions.requests(connection, model, before=_place(cursor), limit=limit + 1)
    page = found[:limit]
    return RequestList(
        items=[_request(row, event) for row, event in page],
        next=str(page[-1][0].seq) if len(found) > limit else None,
    )


def _place(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < _DIGITS):
        raise RequestError("cursor is not one that was given out here")
    return int(cursor)


def _request(row: Any, decision: DecisionEvent | None) -> RequestReply:  # noqa: ANN401 - by name
    alarms = [row.alarm_id] if row.alarm_id else []
    refused = decision is not None and not decision.retrain
    return RequestReply(
        request_id=row.request_id,
        model=row.model,
        origin=row.origin,
        actor=row.actor,
        reason=row.reason,
        alarm_ids=[*decision.alarm_ids] if decision and decision.alarm_ids else alarms,
        status=row.status,
        opened_at=read_moment(row.opened_at),
        refusal=[_reason(each) for each in decision.reasons] if decision and refused else [],
    )


def _decision(event: DecisionEvent) -> DecisionReply:
    return DecisionReply(
        at=event.event_time,
        retrain=event.retrain,
        reasons=[_reason(each) for each in event.reasons],
        alarm_ids=[*event.alarm_ids],
        request_id=event.request_id,
    )


def _reason(each: Reason) -> ReasonReply:
    return ReasonReply(kind=each.kind, text=each.text, alarm_id=each.alarm_id or None)
