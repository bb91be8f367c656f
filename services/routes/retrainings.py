"""Retrainings over REST: ask, follow, read the logs, approve, cancel.

The routes only write and read the record; the runner does the work.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query
from fastapi.responses import StreamingResponse

from audit import change_control, records
from services import clock
from services.identifiers import PATTERN, identifier
from services.launchers import Key, LocalLauncher
from services.retraining import asking, progress
from services.retraining.rows import Approval, Request, Retraining
from services.retraining.schemas import (
    ApprovalRequest,
    RetrainingAccepted,
    RetrainingEvent,
    RetrainingList,
    RetrainingReply,
    RetrainingRequest,
    shown,
)
from services.routes.depending import Connected, Limit, refusals
from services.wiring import Serving

router = APIRouter(prefix="/v1/retrainings", tags=["retrainings"])

Id = Annotated[str, Path(pattern=PATTERN, description="As the request was answered.")]
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=200, description="Asking again with it asks once."),
]
_LOOK_SECONDS = 0.5
_STREAM_TYPE = "text/event-stream"


@router.post(
    "",
    summary="Ask for a retraining",
    status_code=HTTPStatus.ACCEPTED,
    responses=refusals(400, 404, 408, 409, 413, 422, 429, 503),
)
def retrain(
    wish: RetrainingRequest, serving: Connected, idempotency_key: IdempotencyKey = None
) -> RetrainingAccepted:
    """Write the request down; 409 while one of the model is under way or the plan forbids it."""
    now = clock.now()
    plan = change_control.load(serving.settings.change_control or change_control.DEFAULT)
    request = Request(**wish.model_dump())
    made = asking.ask(
        serving.retrainings, serving.registry, plan, request, key=idempotency_key, now=now
    )
    if made.created_at == now:
        serving.recorder.note([_request_event(made)])
    return RetrainingAccepted(retraining_id=made.retraining_id, status=made.status)


@router.get("", summary="Retrainings", responses=refusals(422, 503))
def retrainings(
    serving: Connected,
    model: Annotated[str | None, Query(max_length=63, pattern="^[a-z0-9_-]*$")] = None,
    cursor: Annotated[str | None, Query(pattern=PATTERN, description="`next` of a page.")] = None,
    limit: Limit = 50,
) -> RetrainingList:
    """List retrainings, newest first."""
    found = serving.retrainings.page(model=model, before=cursor, limit=limit + 1)
    page = found[:limit]
    return RetrainingList(
        items=[shown(each) for each in page],
        next=page[-1].retraining_id if len(found) > limit else None,
    )


@router.get("/{retraining_id}", summary="One retraining", responses=refusals(404, 422, 503))
def retraining(retraining_id: Id, serving: Connected) -> RetrainingReply:
    """Say where it stands, what was found, and what happened so far."""
    found = serving.retrainings.get(retraining_id)
    events = [
        RetrainingEvent(at=at, what=what) for at, what in serving.retrainings.events(retraining_id)
    ]
    return shown(found, progress.of(serving.settings.retrainings, found), events)


@router.get(
    "/{retraining_id}/logs",
    summary="What the training prints",
    responses={
        200: {"content": {_STREAM_TYPE: {"schema": {"type": "string"}}}},
        **refusals(404, 422, 503),
    },
    response_class=StreamingResponse,
)
def retraining_logs(
    retraining_id: Id,
    serving: Connected,
    follow: Annotated[bool, Query(description="Go on until it has ended.")] = False,  # noqa: FBT002 - a query parameter
) -> StreamingResponse:
    """Stream the output of every attempt as server-sent events: `log` lines, then one `end`."""
    serving.retrainings.get(retraining_id)
    return StreamingResponse(
        _stream(serving, retraining_id, follow=follow), media_type=_STREAM_TYPE
    )


@router.post(
    "/{retraining_id}/approvals",
    summary="Approve or refuse a candidate",
    responses=refusals(400, 404, 408, 409, 413, 422, 429, 503),
)
def approve(retraining_id: Id, said: ApprovalRequest, serving: Connected) -> RetrainingReply:
    """Write down what a person says; 409 unless the retraining waits for it."""
    approval = Approval(said.actor, said.approved, said.reason, clock.now())
    return shown(serving.retrainings.approve(retraining_id, approval))


@router.delete(
    "/{retraining_id}",
    summary="Cancel a retraining",
    status_code=HTTPStatus.ACCEPTED,
    responses=refusals(404, 409, 422, 503),
)
def cancel(
    retraining_id: Id,
    serving: Connected,
    actor: Annotated[str, Query(min_length=1, max_length=200)] = "api",
) -> RetrainingReply:
    """Ask it to end; the training process ends within seconds, the champion stays."""
    return shown(serving.retrainings.cancel(retraining_id, actor=actor, now=clock.now()))


def _request_event(made: Retraining) -> records.RequestEvent:
    now = made.created_at
    return records.RequestEvent(
        event_id=identifier(now),
        event_time=now,
        request_id=made.retraining_id,
        model=made.request.model,
        origin="person",
        actor=made.request.actor,
        reason=made.request.reason,
    )


async def _stream(serving: Serving, retraining_id: str, *, follow: bool) -> AsyncIterator[str]:
    """Yield new output until there is no more, or with `follow` until the retraining has ended."""
    launcher = LocalLauncher(serving.settings.retrainings)
    offsets: dict[Key, int] = {}
    while True:
        found = await asyncio.to_thread(serving.retrainings.get, retraining_id)
        for key in progress.attempts(serving.settings.retrainings, found):
            part, offsets[key] = launcher.logs(key, offsets.get(key, 0))
            for line in part.decode(errors="replace").splitlines():
                yield _event("log", {"attempt": str(key), "line": line})
        if found.ended or not follow:
            yield _event("end", {"status": found.status, "outcome": found.reason})
            return
        await asyncio.sleep(_LOOK_SECONDS)


def _event(name: str, value: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"
