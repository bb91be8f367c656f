"""Signing in and out of the pages."""

from http import HTTPStatus
from typing import Annotated, cast

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import StringConstraints
from starlette.exceptions import HTTPException

from services import telemetry
from services.access import door
from services.access.door import COOKIE, LASTS, Door, ProviderSignIn
from services.access.principals import Role
from services.access.returning import safe
from services.console import layout
from services.contract.predictions import Request as Body
from services.errors import ForbiddenError, ServiceError
from services.routes.depending import Asking, Connected, refusals

router = APIRouter(tags=["pages"])


class KeyForm(Body):
    """The sign-in form."""

    key: Annotated[str, StringConstraints(max_length=500)]
    """An API key."""
    next: Annotated[str, StringConstraints(max_length=2000)] = "/"
    """Where to go afterwards, a path here."""


class LeavingForm(Body):
    """The sign-out button."""

    csrf: Annotated[str, StringConstraints(max_length=200)]
    """The session's token, as the page has it."""


Next = Annotated[str, Query(max_length=2000, description="Where to go afterwards, a path here.")]


@router.get(
    "/sign-in",
    summary="Sign in",
    response_class=HTMLResponse,
    responses={
        **refusals(422),
        303: {"description": "There is nothing to sign in to, or it is done"},
    },
)
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
    responses=refusals(400, 401, 403, 404, 408, 413, 422, 429),
)
def sign_in(
    request: Request,
    serving: Connected,
    said: Annotated[KeyForm, Form()],
) -> Response:
    """Begin a session for whoever holds the key."""
    if serving.settings.sign_in == "none":
        raise HTTPException(HTTPStatus.NOT_FOUND, "there is no sign-in here")
    here = door_of(request)
    looks = door.wants_page(request.scope, dict(request.scope["headers"]))
    held = here.keys.held(said.key.strip())
    if held is None:
        refused = here.refused_key(door.address(request.scope))
        if not looks:
            return refused
        words = "This key does not count."
        if refused.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            words = "Too many wrong keys from this address. Wait a minute, then try again."
        return _page(serving.settings.sign_in, said.next, words, refused)
    if Role.named(held.role) < Role.VIEWER:
        words = "This key is for programs: it may ask for predictions, not look at pages."
        if not looks:
            raise ForbiddenError(words)
        return _page(serving.settings.sign_in, said.next, words, status=HTTPStatus.FORBIDDEN)
    telemetry.SIGN_INS.labels("key", "accepted").inc()
    _, cookie = here.sessions.begin(now=here.clock(), key_id=held.key_id)
    answer = RedirectResponse(safe(said.next), HTTPStatus.SEE_OTHER)
    here.remember(answer, cookie)
    return answer


@router.get(
    "/sign-in/provider",
    summary="Go to the provider's sign-in",
    status_code=HTTPStatus.SEE_OTHER,
    response_class=RedirectResponse,
    responses=refusals(404, 422, 503),
)
async def to_provider(request: Request, next: Next = "/") -> Response:  # noqa: A002 - as above
    """Send the browser to the provider, with what it must bring back in a cookie."""
    here = door_of(request)
    try:
        address, kept = await _provider(here).begin(request)
    except ServiceError as error:
        return _page("oidc", next, f"{error}. Try again, or use an API key.", status=503)
    until = (here.clock() + LASTS).timestamp()
    said = {"kept": kept, "next": safe(next), "until": until}
    answer = RedirectResponse(address, HTTPStatus.SEE_OTHER)
    cookie = here.sessions.signed(said, "provider")
    here.set_cookie(answer, COOKIE, cookie, seconds=LASTS.total_seconds())
    return answer


@router.get(
    "/sign-in/callback",
    summary="Come back from the provider's sign-in",
    status_code=HTTPStatus.SEE_OTHER,
    response_class=RedirectResponse,
    responses=refusals(401, 403, 404, 422, 429),
)
async def from_provider(request: Request) -> Response:
    """Begin a session for whom the provider names, if it is this browser that asked."""
    here = door_of(request)
    provider = _provider(here)
    brought = here.sessions.verified(request.cookies.get(COOKIE, ""), "provider")
    if brought is None or brought["until"] <= here.clock().timestamp():
        brought = {"kept": {}, "next": "/"}
    try:
        name, role = await provider.finish(request, brought["kept"])
    except ServiceError as error:
        telemetry.SIGN_INS.labels("oidc", "refused").inc()
        forbidden = isinstance(error, ForbiddenError)
        status = HTTPStatus.FORBIDDEN if forbidden else HTTPStatus.UNAUTHORIZED
        words = str(error) if forbidden else "The sign-in did not work. Try it again."
        answer: Response = _page("oidc", brought["next"], words, status=status)
    else:
        telemetry.SIGN_INS.labels("oidc", "accepted").inc()
        _, cookie = here.sessions.begin(now=here.clock(), name=name, role=role.word)
        answer = RedirectResponse(safe(brought["next"]), HTTPStatus.SEE_OTHER)
        here.remember(answer, cookie)
    here.set_cookie(answer, COOKIE, "", seconds=0)
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


def _provider(here: Door) -> ProviderSignIn:
    if here.provider is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "nobody signs in through a provider here")
    return here.provider


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
