"""Suspected shortcuts: groups of heatmaps that look alike, for a person to judge."""

from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Path, Query

from audit import records
from audit.canonical import read_moment
from audit.clusters import SUSPICIOUS
from audit.errors import UnknownRecordError
from audit.store import suspicions
from services import clock
from services.contract.audits import Accepted
from services.contract.predictions import VersionNumber
from services.contract.suspicions import (
    SearchRequest,
    SuspicionDetail,
    SuspicionList,
    SuspicionReply,
    SuspicionVerdictReply,
    SuspicionVerdictRequest,
)
from services.errors import RequestError
from services.identifiers import identifier
from services.routes.depending import Asking, Connected, Cursor, Limit, Name, refusals

router = APIRouter(prefix="/v1/models/{model}/suspected-shortcuts", tags=["audit"])

SuspicionId = Annotated[str, Path(pattern="^[0-9a-f]{26}$", description="As listed.")]
_REFUSED = refusals(400, 404, 408, 409, 413, 422, 429, 503)


@router.get("", summary="Suspected shortcuts", responses=refusals(404, 409, 422, 503))
def suspected(
    model: Name,
    serving: Connected,
    *,
    version: Annotated[VersionNumber | None, Query(description="One version.")] = None,
    class_label: Annotated[str | None, Query(alias="class", max_length=200)] = None,
    verdict: Annotated[
        Literal["open", "confirmed", "dismissed"] | None, Query(description="With this verdict.")
    ] = None,
    least: Annotated[
        float, Query(ge=0, le=1, description="Lowest score; 0 for every group.")
    ] = SUSPICIOUS,
    current: Annotated[
        bool, Query(description="false: also what the latest grouping did not find again.")
    ] = True,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> SuspicionList:
    """List groups of answers whose heatmaps look alike, those that suggest a shortcut most first.

    They are proposals with example images for a person to judge, never alarms.
    """
    if "\0" in (class_label or ""):
        raise RequestError("class: no class has a NUL in its name")
    serving.registry.versions(model)
    wanted = suspicions.Wanted(model, version, class_label, verdict, least, current)
    after = None if cursor is None else _after(cursor)
    with serving.store.require().connected() as connection:
        rows = suspicions.listed(connection, wanted, after=after, limit=limit + 1)
    page = rows[:limit]
    last = f"{page[-1]['score']!r}~{page[-1]['suspicion_id']}" if len(rows) > limit else None
    return SuspicionList(items=[SuspicionReply(**_fields(row)) for row in page], next=last)


@router.get("/searches", include_in_schema=False)
def no_searches() -> None:
    """Keep the name from being taken for a suspicion's: searches are only asked for."""
    raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)


@router.get("/{suspicion_id}", summary="One suspected shortcut", responses=_REFUSED)
def one_suspected(model: Name, suspicion_id: SuspicionId, serving: Connected) -> SuspicionDetail:
    """Return a suspicion with every verdict that people gave it."""
    row = _found(serving, model, suspicion_id)
    said = [
        SuspicionVerdictReply(
            verdict=each["verdict"],
            actor=each["actor"],
            note=each["note"],
            at=read_moment(each["event_time"]),
        )
        for each in row["verdicts"]
    ]
    return SuspicionDetail(**_fields(row), verdicts=said)


@router.post(
    "/{suspicion_id}/verdicts",
    summary="Confirm or dismiss a suspected shortcut",
    status_code=HTTPStatus.ACCEPTED,
    responses=_REFUSED,
)
def judge_suspected(
    model: Name,
    suspicion_id: SuspicionId,
    verdict: SuspicionVerdictRequest,
    serving: Connected,
    asking: Asking,
) -> Accepted:
    """Write down what a person makes of it; earlier verdicts stay, the newest is shown."""
    _found(serving, model, suspicion_id)
    now = clock.now()
    event = records.ActionEvent(
        event_id=identifier(now),
        event_time=now,
        action="suspicion_verdict",
        actor=asking.actor(verdict.actor),
        details={
            "suspicion_id": suspicion_id,
            "model": model,
            "verdict": verdict.verdict,
            "note": verdict.note,
        },
    )
    serving.recorder.note([event])
    return Accepted(event_id=event.event_id)


@router.post(
    "/searches",
    summary="Look for suspected shortcuts now",
    status_code=HTTPStatus.ACCEPTED,
    responses=_REFUSED,
)
def search_suspected(
    model: Name, wish: SearchRequest, serving: Connected, asking: Asking
) -> Accepted:
    """Have the latest answers of the version that answered last grouped, class after class."""
    serving.registry.versions(model)
    now = clock.now()
    event = records.ActionEvent(
        identifier(now), now, "suspicion_search", asking.actor(wish.actor), {"model": model}
    )
    serving.recorder.note([event])
    return Accepted(event_id=event.event_id)


def _found(serving: Connected, model: str, suspicion_id: str) -> dict[str, Any]:
    serving.registry.versions(model)
    with serving.store.require().connected() as connection:
        row = suspicions.one(connection, suspicion_id)
    if row is None or row["model"] != model:
        raise UnknownRecordError(f"there is no suspected shortcut {suspicion_id} of {model}")
    return dict(row)


def _fields(row: Any) -> dict[str, Any]:  # noqa: ANN401 - columns by name
    same = ("suspicion_id", "model", "version", "class_label", "current", "verdict", "examples")
    numbers = ("size", "share", "answers", "groups", "eigengap", "focus", "distance", "score")
    return {
        **{name: row[name] for name in same + numbers},
        "suspected": row["score"] >= SUSPICIOUS,
        "heatmap": row["heatmap"],
        "first_found_at": read_moment(row["first_found_at"]),
        "found_at": read_moment(row["found_at"]),
    }


def _after(cursor: str) -> tuple[float, str]:
    score, _, name = cursor.partition("~")
    try:
        return float(score), name
    except ValueError:
        raise RequestError("cursor is not one that was given out here") from None
