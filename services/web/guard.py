"""The outermost ASGI layer: what reaches BentoML and FastAPI at all, and how every answer looks.

BentoML has no limit on bodies, counts raw paths in its metrics (so unknown paths would grow them
without end), and answers errors in several shapes. Everything passes here first:

* A few exact paths go to BentoML, everything else to the REST application, which knows its own
404. * A change that another site's page asks for through a browser is 403, and a name that is not
this server's 421. * The door says who asks, and answers those whose role is not enough. * At most
`queue` requests with a body are accepted at a time, and nearly all of one caller; one more is 429
before its body is read. * A body that is larger than allowed is 413, one that takes too long to
arrive 408. * Every error leaves as `application/problem+json`, or as a page for somebody who looks
at pages.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import Any, TypeAlias

from starlette.responses import JSONResponse, Response

from services import telemetry, tracing
from services.access import principals
from services.access.principals import Principal
from services.errors import MEDIA_TYPE, OverloadedError, answer, invalid, problem
from services.web import origins

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

# Asked every few seconds by machines, and of no interest one by one.
_UNTRACED = frozenset({"/livez", "/readyz", "/metrics"})
_FIRST_ERROR = 400
_QUEUED = frozenset({"POST", "PUT", "PATCH"})  # what has a body
_RESERVED = 16  # one slot in so many is for other callers


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one worker accepts.

    Attributes:
        body_bytes: Largest request body.
        body_seconds: Longest time for a body to arrive.
        queue: Most requests with a body at a time; nearly all of them for one caller.
    """

    body_bytes: int
    body_seconds: float
    queue: int


class RefusedBodyError(Exception):
    """Ends the reading of a body that the guard has already decided to answer itself."""


class Guard:
    """The ASGI application that a worker runs."""

    def __init__(
        self,
        native: Application,
        paths: frozenset[str],
        rest: Application,
        bounds: Bounds,
        *,
        door: Callable[[Scope], Principal | Response],
        dress: Callable[[Scope, Response], Response],
        welcome: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._welcome = welcome
        self._callers: Counter[str] = Counter()
        self._native, self._paths, self._rest = native, paths, rest
        self._bounds, self._door, self._dress = bounds, door, dress
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass a lifespan on to BentoML, which runs everyone's."""
        if scope["type"] == "lifespan":
            await self._native(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in _UNTRACED:
            await self._answered(scope, receive, send)
            return
        with tracing.request(scope["method"], scope["headers"]):
            await self._answered(scope, receive, send)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = perf_counter()
        reply = _Reply(send, lambda answer: self._dress(scope, answer))
        early = self._refusal(scope) or self._door(scope)
        if isinstance(early, Principal):
            early = self._share_refusal(scope, early) or early
        if isinstance(early, Response):
            await early(scope, receive, reply.send)
        else:
            entered = principals.enter(early)
            try:
                await self._dispatch(scope, receive, reply, _caller(scope, early))
            finally:
                principals.leave(entered)
        route = scope["path"] if scope["path"] in self._paths else _template(scope)
        telemetry.answered(route, scope["method"], reply.status, perf_counter() - start)
        tracing.finished(scope["method"], route, reply.status)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        """Return the answer to what can be refused before its body is read."""
        if origins.foreign(scope["method"], scope["headers"]):
            return problem(HTTPStatus.FORBIDDEN, "another site may not change anything here")
        if not self._welcome(dict(scope["headers"]).get(b"host", b"").decode("latin-1")):
            detail = (
                "this server is not asked by that name; the setting `hosts` lists further ones"
            )
            return problem(HTTPStatus.MISDIRECTED_REQUEST, detail)
        if scope["method"] in _QUEUED and self._active >= self._bounds.queue:
            return answer(OverloadedError(f"{self._bounds.queue} requests are waiting already"))
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._bounds.body_bytes:
            return self._too_large()
        return None

    def _share_refusal(self, scope: Scope, asking: Principal) -> JSONResponse | None:
        """Refuse one caller more than nearly all slots, so that others always find one."""
        most = self._bounds.queue - self._bounds.queue // _RESERVED
        if scope["method"] not in _QUEUED or self._callers[_caller(scope, asking)] < most:
            return None
        return answer(OverloadedError(f"{most} of your requests are waiting already"))

    async def _dispatch(
        self, scope: Scope, receive: Receive, reply: "_Reply", caller: str
    ) -> None:
        target = self._native if scope["path"] in self._paths else self._rest
        body = _Body(receive, self._bounds, reply, self._too_large())
        counts = scope["method"] in _QUEUED
        self._active += counts
        self._callers[caller] += counts
        telemetry.ACTIVE.inc(counts)
        try:
            await target(scope, body.receive, reply.send)
        except RefusedBodyError:
            # A framework that lets it through has answered nothing, or 500, which `reply`
            # replaced.
            await reply.finish()
        finally:
            self._active -= counts
            self._callers[caller] -= counts
            if not self._callers[caller]:
                del self._callers[caller]
            telemetry.ACTIVE.dec(counts)

    def _too_large(self) -> JSONResponse:
        limit = f"at most {self._bounds.body_bytes} bytes are read"
        return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, limit)


class _Body:
    """The request's body, counted and timed while the application reads it."""

    def __init__(
        self, receive: Receive, bounds: Bounds, reply: "_Reply", too_large: JSONResponse
    ) -> None:
        self._receive, self._bounds = receive, bounds
        self._reply, self._too_large = reply, too_large
        self._seen, self._complete = 0, False
        self._end = asyncio.get_running_loop().time() + bounds.body_seconds

    async def receive(self) -> Message:
        if self._complete:  # what follows is the client's leaving, which may come late
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._end):
                message = await self._receive()
        except TimeoutError:
            limit = f"the request took longer than {self._bounds.body_seconds:g} seconds to arrive"
            self._reply.instead = problem(HTTPStatus.REQUEST_TIMEOUT, limit)
            raise RefusedBodyError from None
        self._seen += len(message.get("body") or b"")
        self._complete = not message.get("more_body", False)
        if self._seen > self._bounds.body_bytes:
            self._reply.instead = self._too_large
            raise RefusedBodyError
        return message


class _Reply:
    """The answer on its way out; errors are held back until they have the one shape."""

    def __init__(self, send: Send, dress: Callable[[Response], Response]) -> None:
        self._send, self._dress = send, dress
        self._held: Message | None = None
        self._chunks: list[bytes] = []
        self._started = False
        self._ship: Callable[[], None] | None = None
        self.status = int(HTTPStatus.INTERNAL_SERVER_ERROR)
        self.instead: JSONResponse | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            # A page of ours that says what went wrong: the sign-in does.
            shown = bool(_header(message, b"content-security-policy"))
            if self.instead is not None or (self.status >= _FIRST_ERROR and not shown):
                self._held = message
            else:
                self._started = True
                self._ship = tracing.begin("ship")
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
                await self._send(message)
        elif self._held is None:
            await self._send(message)
            if self._ship is not None and not message.get("more_body"):
                self._ship()
                self._ship = None
        else:
            self._chunks.append(message.get("body", b""))
            if not message.get("more_body"):
                await self.finish()

    async def finish(self) -> None:
        """Send what was held back, once."""
        if self._started:
            return
        self._started = True
        shaped = self._dress(self.instead or self._problem())
        self.status = shaped.status_code
        dropped = {b"content-length", b"content-type", b"x-content-type-options"}
        kept = [pair for pair in (self._held or {}).get("headers", []) if pair[0] not in dropped]
        headers = [*kept, *shaped.raw_headers, (b"x-content-type-options", b"nosniff")]
        await self._send(
            {"type": "http.response.start", "status": self.status, "headers": headers}
        )
        await self._send({"type": "http.response.body", "body": shaped.body})

    def _problem(self) -> Response:
        """Return what was held back, as a problem if it is not one yet."""
        raw, held = b"".join(self._chunks), self._held or {"headers": []}
        if _header(held, b"content-type").startswith(MEDIA_TYPE.encode()):
            return Response(raw, self.status, media_type=MEDIA_TYPE)
        return _reshaped(self.status, raw)


def _caller(scope: Scope, asking: Principal) -> str:
    """Return who asks: by name where that is shown, else by address."""
    return f"name {asking.name}" if asking.signed_in else str((scope.get("client") or [""])[0])


def _header(message: Message, name: bytes) -> bytes:
    return next((bytes(value) for key, value in message["headers"] if key.lower() == name), b"")


def _template(scope: Scope) -> str | None:
    """Return the template of the route that FastAPI chose; None where it found none."""
    path = getattr(scope.get("route"), "path", None)
    return str(path) if path else None


def _reshaped(status: int, raw: bytes) -> JSONResponse:
    """Return an error of BentoML or Starlette (a list, an object or plain text) as a problem."""
    try:
        body = json.loads(raw)
        body = body[0] if isinstance(body, list) else body
        detail, errors = str(body["error"]), body.get("detail", [])
    except (ValueError, LookupError, TypeError, AttributeError):
        return problem(status, raw.decode("utf-8", "replace")[:200] or HTTPStatus(status).phrase)
    if isinstance(errors, list) and errors:
        return invalid(errors)
    return problem(status, detail)
