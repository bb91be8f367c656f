"""A person's data is erased on request: asked for here, carried out by the auditor."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import StringConstraints

from audit import records
from audit.canonical import read_moment
from audit.errors import UnknownRecordError
from audit.store import queries
from services import clock
from services.contract.audits import Accepted, Actor
from services.contract.predictions import Reply, Request
from services.identifiers import PATTERN, identifier
from services.routes.depending import Asking, Connected, refusals

router = APIRouter(prefix="/v1/erasures", tags=["audit"])

Subject = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class ErasureRequest(Request):
    """Whose data shall be erased."""

    subject: Subject
    """The pseudonym given with the images; it is erased from this request as well."""
    actor: Actor = "anonymous"
    """Who asks."""


class ErasureReply(Reply):
    """What became of an erasure."""

    event_id: str
    done_at: datetime | None
    """null while the auditor has not carried it out."""


@router.post(
    "",
    summary="Erase what was recorded about somebody",
    status_code=HTTPStatus.ACCEPTED,
    responses=refusals(400, 408, 413, 422, 429, 503),
)
def erase(wish: ErasureRequest, serving: Connected, asking: Asking) -> Accepted:
    """Erase images, heatmaps, regions, labels and verdicts of a subject.

    Its rows leave the training data of every retraining as well, and versions that learned from
    them say so. The audit trail keeps that there was something, and not what.
    """
    now = clock.now()
    actor = asking.actor(wish.actor)
    event = records.ErasureRequest(identifier(now), now, actor, wish.subject)
    serving.recorder.note([event])
    return Accepted(event_id=event.event_id)


@router.get("/{event_id}", summary="What became of an erasure", responses=refusals(404, 422, 503))
def erasure(
    event_id: Annotated[str, Path(pattern=PATTERN, description="As accepted.")],
    serving: Connected,
) -> ErasureReply:
    """Say when an erasure was carried out."""
    if isinstance(serving.trail.waiting(event_id), records.ErasureRequest):
        return ErasureReply(event_id=event_id, done_at=None)
    with serving.store.require().connected() as connection:
        known = queries.erasure_known(connection, event_id)
        done = queries.erased_at(connection, event_id)
    if not known:
        raise UnknownRecordError(f"no erasure {event_id} was asked for")
    return ErasureReply(event_id=event_id, done_at=read_moment(done) if done else None)
