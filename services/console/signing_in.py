"""Signing in and out of the pages."""

from http import HTTPStatus
from typing import Annotated, cast

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import StringConstraints

from services import telemetry
from services.access import door
from services.access.door import Door
from services.access.principals import Role
from services.access.returning import safe
from services.console import layout
from services.errors import ForbiddenError
from services.routes.depending import Asking, Connected, refusals
from services.schemas import Request as Body

router = APIRouter(tags=["pages"])


class KeyForm(Body):
    """The sign-in form."""

    key: Annotated[str, StringConstraints(max_length=500)]
    """An API key."""
    next: Annotated[str, StringConstraints(max_length=2000)] = "/"
    """Where to go afterwards, a path here."""


class LeavingForm(Body):
    """The sign-out button."""

    csrf: Annotated[str, StringConstraints(max_length=200)] = ""
    """The session's token, as the page has it."""


Next = Annotated[str, Query(max_length=2000, description="Where to go afterwards, a path here.")]


@router.get("/sign-in", summary="Sign in", response_class=HTMLResponse, responses=refusals(422))
def sign_in_page(serving: Connected, asking: Asking, next: Next = "/") -> Response:  # noqa: A002 - the name in the address
    """Ask for a key, or offer the provider's sign-in."""
    if serving.settings.sign_in == "none" or asking.signed_in:
        return RedirectResponse(safe(next), HTTPStatus.SEE_OTHER)
    return _page(serving.settings.sign_in, next)


@router.post(
    "/sign-in",
    summary="Sign in with an API key",
    status_code=HTTPStatus.SEE_OTHER,
    response_class=RedirectResponse,
    responses=refusals(400, 401, 403, 408, 413, 422, 429),
)
def sign_in(
    request: Request,
    serving: Connected,
    said: Annotated[KeyForm, Form()],
) -> Response:
    """Begin a session for whoever holds the key."""
    here = door_of(request)
    held = here.keys.held(said.key.strip())
    if held is None:
        refused = here.refused_key(door.address(request.scope))
        words = "This key does not count."
        if refused.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            words = "Too many wrong keys from this address. Wait a minute, then try again."
        return _page(serving.settings.sign_in, said.next, words, refused)
    if Role.named(held.role) < Role.VIEWER:
        words = "This key is for programs: it may ask for predictions, not look at pages."
        return _page(serving.settings.sign_in, said.next, words, status=HTTPStatus.FORBIDDEN)
    telemetry.SIGN_INS.labels("key", "accepted").inc()
    _, cookie = here.sessions.begin(now=here.clock(), key_id=held.key_id)
    answer = RedirectResponse(safe(said.next), HTTPStatus.SEE_OTHER)
    here.remember(answer, cookie)
    return answer


@router.post(
    "/sign-out",
    summary="Sign out",
    status_code=HTTPStatus.SEE_OTHER,
    response_class=RedirectResponse,
    responses=refusals(400, 403, 408, 413, 422, 429),
)
def sign_out(request: Request, asking: Asking, said: Annotated[LeavingForm, Form()]) -> Response:
    """End the session, in every worker and for every copy of its cookie."""
    here = door_of(request)
    session = here.session_of(dict(request.scope["headers"]))
    if session is not None:
        if not door.same_token(said.csrf, asking):
            raise ForbiddenError("the page's token is missing or of another session")
        here.sessions.end(session, now=here.clock())
    answer = RedirectResponse(door.SIGN_IN, HTTPStatus.SEE_OTHER)
    here.forget(answer)
    return answer


def door_of(request: Request) -> Door:
    """Return the door that the gateway put in front."""
    return cast("Door", request.app.state.door)


def _page(
    way: str,
    next: str,  # noqa: A002 - as above
    said: str = "",
    refused: Response | None = None,
    status: int = HTTPStatus.OK,
) -> HTMLResponse:
    made = layout.page("sign_in.html", here=door.SIGN_IN, way=way, next=safe(next), said=said)
    made.status_code = refused.status_code if refused else status
    if refused is not None and "retry-after" in refused.headers:
        made.headers["Retry-After"] = refused.headers["retry-after"]
    return made
