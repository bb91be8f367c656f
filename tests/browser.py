"""Debian's Chromium, driven by Playwright; nothing is downloaded, nothing leaves the machine."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

CHROMIUM = shutil.which("chromium")
# Without these, a closed network makes Chromium try for ever what nobody asked it for.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def missing() -> str | None:
    """Why pages cannot be driven here; None when they can."""
    if CHROMIUM is None:
        return "Chromium is not installed: apt-get install chromium"
    try:
        import playwright  # noqa: F401, PLC0415 - a dev dependency
    except ImportError:
        return "Playwright is not installed: pip install playwright"
    return None


@contextmanager
def browser() -> Iterator[Any]:
    """One browser without a window."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - as above

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield running
        finally:
            running.close()


@dataclass
class Watch:
    """What a page did that it should not: errors in the console, requests to other hosts."""

    host: str
    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    transferred: int = 0

    def follow(self, page: Any) -> None:  # noqa: ANN401 - Playwright's page
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._asked)
        page.on("requestfinished", self._finished)

    def _said(self, message: Any) -> None:  # noqa: ANN401
        if message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def _asked(self, request: Any) -> None:  # noqa: ANN401
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"} and parts.netloc != self.host:
            self.elsewhere.append(request.url)

    def _finished(self, request: Any) -> None:  # noqa: ANN401
        if request.resource_type not in {"image", "fetch"}:
            self.transferred += request.sizes()["responseBodySize"]
