"""The door in front of everything: who is asking, and whether the role is enough.

It decides on method, path and headers alone, before a body is read. A bearer key counts before a
cookie; a change that rests on a cookie needs the session's token beside it, because browsers send
cookies along with whatever makes them ask.
"""

import hmac
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Route

from services import secret, telemetry
from services.access import roles
from services.access.keys import Keys
from services.access.principals import LOCAL, NOBODY, Principal, Role
from services.access.sessions import Session, Sessions
from services.access.throttle import Throttle
from services.errors import problem
from services.settings import Settings

Scope: TypeAlias = MutableMapping[str, Any]
Headers: TypeAlias = Mapping[bytes, bytes]

SIGN_IN = "/sign-in"
COOKIE = "rightly-sign-in"  # what a browser must bring back from the provider
LASTS = timedelta(minutes=10)  # that long
TOKEN_HEADER = b"x-csrf-token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="rightly"'}


class ProviderSignIn(Protocol):
    """Signs people in elsewhere; see `services.access.provider`."""

    async def begin(self, request: Request) -> tuple[str, dict[str, Any]]:
        """Return where the browser goes, and what it must bring back."""

    async def finish(self, request: Request, kept: dict[str, Any]) -> tuple[str, Role]:
        """Return who comes back."""


class Door:
    """Lets a request in as somebody, or answers it.

    Attributes:
        keys: The API keys.
        sessions: Of browsers.
        throttle: Of failures.
        provider: Of OpenID Connect; None without one.
        clock: Says what time it is.
    """

    def __init__(
        self,
        settings: Settings,
        routes: Sequence[BaseRoute],
        native: Iterable[str],
        clock: Callable[[], datetime],
    ) -> None:
        self._settings, self.clock = settings, clock
        self._routes = [each for each in routes if isinstance(each, Route)]
        self._native = frozenset(native)
        self.keys, self.throttle = Keys(settings.keys), Throttle()
        self.sessions = sessions_of(settings)
        self.provider = _provider_of(settings)

    def __call__(self, scope: Scope) -> Principal | Response:
        """Return who asks, or the answer to one who may not."""
        if self._settings.sign_in == "none":
            return LOCAL
        template = self._template(scope)
        if template is None:  # the answer will be 404 or 405, to anybody
            return self._by_cookie(dict(scope["headers"]))
        method = scope["method"]
        needed = roles.needed(method, template, open_predictions=self._settings.open_predictions)
        headers = dict(scope["headers"])
        bearer = _bearer(headers) if needed > Role.ANYONE else None
        if bearer is not None:
            who = self._by_key(bearer)
            if who is None:
                return self.refused_key(address(scope))
        else:
            who = self._by_cookie(headers)
        if not who.may(needed):
            return _refusal(scope, headers, who, needed)
        if self._unproven(f"{method} {template}", method, needed, who, headers):
            detail = "the page's token is missing or of another session; load the page again"
            return problem(HTTPStatus.FORBIDDEN, detail)
        return who

    def refused_key(self, address: str) -> Response:
        """Count a wrong key and return the answer to it, the same whatever was wrong."""
        telemetry.SIGN_INS.labels("key", "refused").inc()
        wait = self.throttle.failed(address, self.clock().timestamp())
        if wait is not None:
            detail = "too many wrong keys from this address; wait before the next one"
            seconds = {"Retry-After": str(max(1, round(wait)))}
            return problem(HTTPStatus.TOO_MANY_REQUESTS, detail, headers=seconds)
        return problem(HTTPStatus.UNAUTHORIZED, "this key does not count", headers=_CHALLENGE)

    def session_of(self, headers: Headers) -> Session | None:
        """Return the session that the request's cookie speaks of."""
        name = cookie_name(self._settings)
        cookie = _cookies(headers).get(name)
        return None if cookie is None else self.sessions.read(cookie, now=self.clock())

    def remember(self, answer: Response, cookie: str) -> None:
        """Put a session's cookie on an answer."""
        self.set_cookie(answer, cookie_name(self._settings), cookie)

    def forget(self, answer: Response) -> None:
        """Take the session's cookie away from the browser."""
        self.set_cookie(answer, cookie_name(self._settings), "", seconds=0)

    def set_cookie(
        self, answer: Response, name: str, value: str, *, seconds: float | None = None
    ) -> None:
        """Put a cookie on an answer that no script reads and no other site's form sends.

        Args:
            answer: That takes it along.
            name: Of the cookie.
            value: Its text.
            seconds: How long it lasts; None for as long as a session.
        """
        lasts = self.sessions.lifetime.total_seconds() if seconds is None else seconds
        answer.set_cookie(
            name,
            value,
            max_age=int(lasts),
            httponly=True,
            samesite="lax",
            secure=is_encrypted(self._settings),
        )

    def _by_key(self, bearer: str) -> Principal | None:
        held = self.keys.held(bearer)
        return None if held is None else Principal(held.name, Role.named(held.role), "key")

    def _by_cookie(self, headers: Headers) -> Principal:
        session = self.session_of(headers)
        if session is None:
            return NOBODY
        name, role = session.name, session.role
        if session.key_id:
            held = self.keys.by_id(session.key_id)
            if held is None:
                return NOBODY
            name, role = held.name, held.role
        return Principal(name, Role.named(role), "session", self.sessions.token(session))

    def _unproven(
        self, route: str, method: str, needed: Role, who: Principal, headers: Headers
    ) -> bool:
        """Whether a change rests on a cookie alone."""
        if method in _SAFE or not who.csrf or needed is Role.ANYONE or route in roles.FORMS:
            return False
        return not same_token(headers.get(TOKEN_HEADER, b"").decode("latin-1"), who)

    def _template(self, scope: Scope) -> str | None:
        """Return the template of the route that will take the request; None where none will."""
        if scope["path"] in self._native:
            return str(scope["path"])
        found = (each for each in self._routes if each.matches(scope)[0] is Match.FULL)
        return next((each.path for each in found), None)


def sessions_of(settings: Settings) -> Sessions:
    """Return the sessions that the settings ask for; their key is made when it is missing."""
    key = b"" if settings.sign_in == "none" else secret.secret_key(settings.session_key)
    lifetime = timedelta(hours=settings.session_hours)
    return Sessions(key, settings.ended_sessions, lifetime)


def _provider_of(settings: Settings) -> ProviderSignIn | None:
    if settings.sign_in != "oidc":
        return None
    from services.access.provider import Provider  # noqa: PLC0415 - Authlib is an extra

    return Provider(settings)


def is_encrypted(settings: Settings) -> bool:
    """Whether browsers reach this server over https."""
    return settings.public_url.startswith("https://")


def cookie_name(settings: Settings) -> str:
    """Return the session cookie's name; browsers keep `__Host-` to this host and to https."""
    return "__Host-rightly" if is_encrypted(settings) else "rightly"


def same_token(said: str, who: Principal) -> bool:
    """Whether a token is that of the principal's session, compared in constant time."""
    return bool(who.csrf) and hmac.compare_digest(said.encode(), who.csrf.encode())


def address(scope: Scope) -> str:
    """Return the address that a request comes from, "" where the server does not know."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def wants_page(scope: Scope, headers: Headers) -> bool:
    """Whether somebody looks at the answer in a browser, rather than a program."""
    shown = b"text/html" in headers.get(b"accept", b"")
    return shown and not scope["path"].startswith("/v1/")


def _refusal(scope: Scope, headers: Headers, who: Principal, needed: Role) -> Response:
    if who.signed_in:
        detail = f"this needs the role {needed.word}; {who.name} is {who.role.word}"
        return problem(HTTPStatus.FORBIDDEN, detail)
    query = scope.get("query_string", b"").decode("latin-1")
    here = scope["path"] + (f"?{query}" if query else "")
    if headers.get(b"hx-request") == b"true":
        target = headers.get(b"hx-current-url", b"/").decode("latin-1")
        answer = problem(HTTPStatus.UNAUTHORIZED, "sign in first")
        answer.headers["HX-Redirect"] = f"{SIGN_IN}?next={quote(_path(target))}"
        return answer
    if scope["method"] == "GET" and wants_page(scope, headers):
        way = "" if here == "/" else f"?next={quote(here)}"
        return RedirectResponse(SIGN_IN + way, HTTPStatus.SEE_OTHER)
    detail = "send an API key as `Authorization: Bearer …`, or sign in"
    return problem(HTTPStatus.UNAUTHORIZED, detail, headers=_CHALLENGE)


def _path(url: str) -> str:
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _bearer(headers: Headers) -> str | None:
    scheme, _, credentials = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else None


def _cookies(headers: Headers) -> dict[str, str]:
    try:
        parsed = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in parsed.items()}
