"""The REST application behind door and guard, in this process: a server without a server."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from services import clock, wiring
from services.access.door import TOKEN_HEADER, Door
from services.access.principals import Role
from services.console import errors
from services.settings import Settings
from services.web import rest
from services.web.guard import Bounds, Guard
from tests import graphs
from tests.served import MODEL, registry_of_colours

BOUNDS = Bounds(body_bytes=1_000_000, body_seconds=5.0, queue=8)
NATIVE = frozenset({"/predict", "/metrics", "/schema.json"})
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def native(scope, _receive, send) -> None:
    """Stands where BentoML is: answers its own path."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


@dataclass
class Clock:
    """Goes only when it is told to."""

    ahead: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return clock.now() + self.ahead


@dataclass
class Site:
    """What answers, and what it is made of."""

    guard: Guard
    door: Door
    serving: wiring.Serving
    clock: Clock

    def key(self, name: str, role: Role) -> str:
        return self.door.keys.add(name, role, now=self.clock())

    def ask(self, verb: str, path: str, **arguments: object) -> httpx.Response:
        """One request without cookies."""
        return Browser(self).ask(verb, path, **arguments)

    def bearer(self, name: str, role: Role) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key(name, role)}"}


@dataclass
class Browser:
    """Keeps cookies, follows nothing, says what it accepts as browsers do."""

    site: Site
    cookies: httpx.Cookies = field(default_factory=httpx.Cookies)
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, verb: str, path: str, **arguments: Any) -> httpx.Response:  # noqa: ANN401
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(self.site.guard, raise_app_exceptions=False)
            options = {"transport": transport, "base_url": "http://rightly", "timeout": 30}
            async with httpx.AsyncClient(**options, cookies=self.cookies) as client:
                headers = self.headers | arguments.pop("headers", {})
                answer = await client.request(verb, path, headers=headers, **arguments)
                self.cookies = client.cookies
                return answer

        return asyncio.run(call())

    def sign_in(self, key: str, **form: str) -> httpx.Response:
        return self.ask("POST", "/sign-in", data={"key": key, **form})

    @property
    def token(self) -> dict[str, str]:
        """What the page's scripts send along."""
        page = self.ask("GET", "/docs", headers=BROWSER).text
        return {TOKEN_HEADER.decode(): page.split('<meta name="csrf" content="')[1].split('"')[0]}


@contextmanager
def site(home: Path, **chosen: object) -> Iterator[Site]:
    """A worker with one model, and sign-in as the settings say."""
    registry = registry_of_colours(home, graphs.GAIN, graphs.GAIN / 2)
    fixed = {"default_model": MODEL, "device": "cpu", "threads": 1}
    settings = Settings(home=home, registry=registry.root, **(fixed | chosen))
    application, serving, ticking = rest.create(), wiring.connect(settings), Clock()
    rest.connect(application, serving)
    door = Door(settings, rest.routes(application), NATIVE, ticking)
    application.state.door = door
    try:
        guard = Guard(native, NATIVE, application, BOUNDS, door=door, dress=errors.dressed)
        yield Site(guard, door, serving, ticking)
    finally:
        serving.pool.close()
        serving.recorder.close()
        serving.store.close()
