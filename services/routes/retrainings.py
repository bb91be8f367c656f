"""Retrainings over REST: ask, follow, read the logs, approve, cancel.

The routes only write and read the record; the runner does the work.
"""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query
from fastapi.responses import StreamingResponse

from audit import change_control, records, report
from audit.errors import UnknownRecordError
from services import clock
from services.contract.retrainings import (
    ApprovalRequest,
    RetrainingAccepted,
    RetrainingEvent,
    RetrainingList,
    RetrainingReply,
    RetrainingRequest,
    shown,
)
from services.errors import RequestError
from services.identifiers import PATTERN, identifier
from services.retraining import asking as requests
from services.retraining import streaming
from services.retraining.jobs import launching, progress
from services.retraining.rows import Approval, Request, Retraining
from services.routes.depending import Asking, Connected, Limit, refusals
from services.wiring import Serving

router = APIRouter(prefix="/v1/retrainings", tags=["retrainings"])

Id = Annotated[str, Path(pattern=PATTERN, description="As the request was answered.")]
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=200, description="Asking again with it asks once."),
]


@router.post(
    "",
    summary="Ask for a retraining",
    status_code=HTTPStatus.ACCEPTED,
    responses=refusals(400, 404, 408, 409, 413, 422, 429, 503),
)
def retrain(
    wish: RetrainingRequest,
    serving: Connected,
    asking: Asking,
    idempotency_key: IdempotencyKey = None,
) -> RetrainingAccepted:
    """Write the request down; 409 while one of the model is under way or the plan forbids it."""
    now = clock.now()
    plan = change_control.load(serving.settings.change_control or change_control.DEFAULT)
    if wish.alarm_id is not None:
        _check_alarm(serving, wish.alarm_id, wish.model)
    said = {"actor": asking.actor(wish.actor), "when_quiet": wish.when_quiet or ""}
    request = Request(**(wish.model_dump() | said))
    made = requests.ask(
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
        200: {"content": {streaming.MEDIA_TYPE: {"schema": {"type": "string"}}}},
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
    told = streaming.stream(
        serving.retrainings,
        serving.settings.retrainings,
        launching.of(serving.settings),
        retraining_id,
        follow=follow,
        names=("log",),
    )
    return StreamingResponse(told, media_type=streaming.MEDIA_TYPE)


@router.post(
    "/{retraining_id}/approvals",
    summary="Approve or refuse a candidate",
    responses=refusals(400, 404, 408, 409, 413, 422, 429, 503),
)
def approve(
    retraining_id: Id, said: ApprovalRequest, serving: Connected, asking: Asking
) -> RetrainingReply:
    """Write down what a person says; 409 unless the retraining waits for it."""
    approval = Approval(asking.actor(said.actor), said.approved, said.reason, clock.now())
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
    asking: Asking,
    actor: Annotated[str, Query(min_length=1, max_length=200)] = "api",
) -> RetrainingReply:
    """Ask it to end; the training process ends within seconds, the champion stays."""
    who = asking.actor(actor)
    return shown(serving.retrainings.cancel(retraining_id, actor=who, now=clock.now()))


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
        alarm_id=made.request.alarm_id,
    )


def _check_alarm(serving: Serving, alarm_id: str, model: str) -> None:
    """Refuse an alarm that is not there, or is about another model."""
    with serving.store.require().connected() as connection:
        found = report.alarm(connection, alarm_id)
    if found is None:
        raise UnknownRecordError(f"there is no alarm {alarm_id}")
    if found["model"] != model:
        raise RequestError(f"alarm_id: {alarm_id} is about {found['model']}, not {model}")
