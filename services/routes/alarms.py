"""Alarms and their life, and the webhook through which Prometheus may ask for a retraining."""

import hashlib
import hmac
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request

from audit import records, report
from audit.canonical import read_moment
from audit.errors import UnknownRecordError
from audit.reliance.places import Place
from services import clock
from services.contract.audits import (
    Accepted,
    AcknowledgementRequest,
    AlarmEvidence,
    AlarmList,
    AlarmPlace,
    AlarmReply,
    WebhookAlert,
    WebhookReply,
    WebhookRequest,
)
from services.errors import ConflictError, ForbiddenError, OverloadedError, RequestError
from services.identifiers import identifier
from services.routes.depending import Asking, Connected, Cursor, Limit, refusals
from services.wiring import Serving

router = APIRouter(prefix="/v1", tags=["audit"])

AlarmId = Annotated[str, Path(pattern="^[0-9a-f]{26}$", description="As listed.")]
# What an alert rule says about itself when it wants a retraining.
ACTION = "retrain"


@router.get("/alarms", summary="Alarms", responses=refusals(422, 503))
def alarms(
    serving: Connected,
    model: Annotated[str | None, Query(max_length=63, pattern="^[a-z0-9_-]*$")] = None,
    state: Annotated[list[str] | None, Query(max_length=6)] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> AlarmList:
    """List alarms, newest first; `state` may be given several times."""
    if cursor is not None and not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):  # noqa: PLR2004 - fits SQL
        raise RequestError("cursor is not one that was given out here")
    known = {"ok", "warning", "alarm", "acknowledged", "requested", "closed"}
    if unknown := set(state or ()) - known:
        raise RequestError(f"state: no alarm is {min(unknown)!r}; there are {sorted(known)}")
    with serving.store.require().connected() as connection:
        page = report.alarms(
            connection, model=model, states=state or (), after=cursor, limit=limit
        )
    return AlarmList(items=[_alarm(row) for row in page.rows], next=page.after)


@router.post(
    "/alarms/{alarm_id}/acknowledgement",
    summary="Acknowledge an alarm",
    status_code=HTTPStatus.ACCEPTED,
    responses=refusals(400, 404, 408, 409, 413, 422, 429, 503),
)
def acknowledge(
    alarm_id: AlarmId, seen: AcknowledgementRequest, serving: Connected, asking: Asking
) -> Accepted:
    """Write down that a person has seen an alarm and what the person makes of it."""
    actor = asking.actor(seen.actor)
    with serving.store.require().connected() as connection:
        found = report.alarm(connection, alarm_id)
    if found is None:
        raise UnknownRecordError(f"there is no alarm {alarm_id}")
    if found["state"] != "alarm":
        raise ConflictError(f"alarm {alarm_id} is {found['state']}, it cannot be acknowledged")
    now = clock.now()
    event = records.AcknowledgementEvent(identifier(now), now, alarm_id, actor, seen.reason)
    serving.recorder.note([event])
    return Accepted(event_id=event.event_id)


@router.post(
    "/webhooks/alertmanager",
    summary="Alertmanager's webhook",
    status_code=HTTPStatus.ACCEPTED,
    responses=refusals(400, 403, 408, 413, 422, 429, 503),
)
def alertmanager(
    message: WebhookRequest,
    request: Request,
    serving: Connected,
    authorization: Annotated[str, Header(max_length=500)] = "",
) -> WebhookReply:
    """Ask for retrainings; whether one starts is decided by policy and people, never here.

    The same alert asks once, however often it is delivered. Only alerts with the label
    `action="retrain"` ask for anything.
    """
    _check_token(authorization, serving, request.client.host if request.client else "")
    known = set(serving.registry.models())
    now = clock.now()
    events = {
        event.request_id: event
        for alert in message.alerts
        if (event := _request(alert, known, identifier(now))) is not None
    }
    serving.recorder.note([*events.values()])
    return WebhookReply(requests=[*events], ignored=len(message.alerts) - len(events))


def _request(alert: WebhookAlert, known: set[str], event_id: str) -> records.RequestEvent | None:
    model = alert.labels.get("model", "")
    wanted = alert.labels.get("action") == ACTION and alert.status == "firing"
    if not wanted or model not in known:
        return None
    # Labels never reach a path or a command: they only name what is in the registry.
    key = f"{alert.fingerprint}\n{alert.startsAt}".encode()
    name = alert.labels.get("alertname", "")[:100].replace("\0", "")
    return records.RequestEvent(
        event_id=event_id,
        event_time=clock.now(),
        request_id=hashlib.sha256(key).hexdigest()[:26],
        model=model,
        origin="alertmanager",
        actor="alertmanager",
        reason=f"alert {name}" if name else "an alert without a name",
    )


def _check_token(authorization: str, serving: Serving, address: str) -> None:
    """Refuse a wrong token, and slow down whoever tries one after the other."""
    token = serving.settings.webhook_token
    if not token:
        raise ForbiddenError("the webhook is closed: set webhook_token to open it")
    expected = f"Bearer {token}".encode()
    if not hmac.compare_digest(authorization.encode(), expected):
        wait = serving.webhooks.failed(address, clock.now().timestamp())
        if wait is not None:
            raise OverloadedError(f"too many wrong tokens; try again in {wait:.0f} seconds")
        raise ForbiddenError("the bearer token is not the one of the setting webhook_token")


def _place(found: Place | None, label: str) -> AlarmPlace | None:
    if found is None:
        return None
    return AlarmPlace(
        said=found.said(label),
        part=found.part,
        left=found.left,
        top=found.top,
        width=found.width,
        height=found.height,
        consistency=found.consistency,
        answers=found.answers,
        map=[[*row] for row in found.map],
        examples=[*found.examples],
    )


def _alarm(row: Any) -> AlarmReply:  # noqa: ANN401 - columns by name
    evidence = row["evidence"]
    return AlarmReply(
        **{
            name: row[name]
            for name in ("alarm_id", "model", "version", "measure", "class_label", "side")
        },
        source=row["source"],
        state=row["state"],
        evidence=AlarmEvidence(
            observations=int(evidence["observations"]),
            value=evidence["value"],
            threshold=evidence["threshold"],
            reference=evidence.get("reference"),
            where=_place(row["where"], row["class_label"]),
        ),
        raised_at=read_moment(row["raised_at"]),
        changed_at=read_moment(row["changed_at"]),
        actor=row["actor"],
        reason=row["reason"],
    )
