"""The audit trail: find what happened, check that nothing was changed, hand it out."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from audit import records, search
from audit.errors import UnknownRecordError
from audit.search import Wanted
from services import clock
from services.console import checking, layout, telling
from services.errors import RequestError
from services.identifiers import identifier
from services.routes.depending import Asking, Connected, Cursor, refusals

router = APIRouter(tags=["pages"])

HERE = "/trail"
_PAGE = 50
_SEE_OTHER = 303
_DIGITS = 18  # of a number that every database holds
Name = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]
Day = Annotated[str, Query(pattern=r"^(\d{4}-\d\d-\d\d)?$", description="A day, in UTC.")]


@router.get(
    HERE,
    summary="Audit trail",
    response_class=HTMLResponse,
    responses={
        **refusals(404, 422, 503),
        303: {"description": "To the event of the identifier"},
    },
)
def trail_page(
    serving: Connected,
    *,
    named: Annotated[Name, Query(alias="id")] = "",
    kind: Name = "",
    model: Name = "",
    version: Annotated[str, Query(pattern=r"^\d{0,9}$")] = "",
    label: Annotated[Name, Query(alias="class")] = "",
    subject: Name = "",
    since: Day = "",
    until: Day = "",
    cursor: Cursor = None,
) -> Response:
    """Search the trail, newest first; an identifier leads to its own page."""
    if named.strip():
        return RedirectResponse(f"{HERE}/{_clean(named.strip())}", _SEE_OTHER)
    if kind and kind not in search.KINDS:
        raise RequestError(f"kind: no event is {kind!r}; there are {', '.join(search.KINDS)}")
    wanted = Wanted(
        kind=kind or None,
        model=model or None,
        version=int(version) if version else None,
        class_label=label or None,
        subject=subject or None,
        since=_morning("since", since),
        until=_after("until", until),
    )
    store, found = serving.store(), []
    if store is not None:
        with store.connected() as connection:
            before = _before(cursor)
            found = [*search.events(connection, wanted, before=before, limit=_PAGE + 1)]
    asked = {"kind": kind, "model": model, "version": version, "class": label}
    asked |= {"subject": subject, "since": since, "until": until}
    return layout.page(
        "trail.html",
        here=HERE,
        audited=store is not None,
        found=found[:_PAGE],
        asked=asked,
        searched=wanted != Wanted(),
        after=found[_PAGE - 1].row["seq"] if len(found) > _PAGE else None,
        first=cursor is None,
        models=serving.registry.models(),
        kinds=telling.KINDS,
        telling=telling,
        checked=checking.last(serving.settings.home),
    )


@router.get(
    f"{HERE}/verification",
    summary="How the verification stands, to refresh it",
    response_class=HTMLResponse,
    responses=refusals(503),
)
def verification_part(serving: Connected) -> HTMLResponse:
    """Return the part of the page that changes while the trail is verified."""
    checked = checking.last(serving.settings.home)
    return layout.page("trail_checked.html", here=HERE, checked=checked)


@router.post(
    f"{HERE}/verification",
    summary="Verify the whole trail",
    response_class=HTMLResponse,
    responses=refusals(400, 408, 409, 413, 422, 429, 503),
)
def verify(serving: Connected, asking: Asking) -> HTMLResponse:
    """Begin what `rightly audit verify` does, in a thread of its own; written down as well."""
    actor = asking.name or "console"
    checking.begin(serving.settings, serving.store, actor=actor, clock=clock.now)
    now = clock.now()
    event = records.ActionEvent(identifier(now), now, "verification", actor)
    serving.recorder.note([event])
    return verification_part(serving)


def _before(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= _DIGITS):
        raise RequestError("cursor is not one that was given out here")
    return int(cursor)


def _clean(named: str) -> str:
    if not named.isascii() or not named.replace("-", "").replace("_", "").isalnum():
        raise UnknownRecordError(f"no event has the id {named!r}")
    return named


def _morning(name: str, day: str) -> datetime | None:
    if not day:
        return None
    try:
        return datetime.combine(date.fromisoformat(day), time(), UTC)
    except ValueError as error:
        raise RequestError(f"{name}: there is no day {day}") from error


def _after(name: str, day: str) -> datetime | None:
    """Return the end of a day that belongs to the search."""
    found = _morning(name, day)
    try:
        return None if found is None else found + timedelta(days=1)
    except OverflowError as error:
        raise RequestError(f"{name}: there is no day after {day}") from error
