"""Install what retraining needs while the gateway already answers, then become the runner.

`rightly up --with-retraining` runs it as a companion in the runner's place. A retraining that is
asked for meanwhile stands in the queue, which the runner takes up as soon as it begins.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import httpx

from services import clock, settings
from services.parts import installing, known, progress

_MODULE: Final = "services.retraining.runner"
_LINE_SECONDS: Final = 10.0  # between lines on the terminal
_RETRY_SECONDS: Final = 600.0
_START_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.2
COMMAND: Final = f"rightly install {known.TRAINING}"


def main() -> None:
    """Install the part if it is not whole, then run what it is for in this process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    chosen = settings.load()
    _await_gateway(chosen)
    if not complete(chosen.home):
        time.sleep(_RETRY_SECONDS)
        sys.exit(1)  # started again, and tried again
    os.execv(sys.executable, [sys.executable, "-m", _MODULE])  # noqa: S606 - our own command


def complete(home: Path) -> bool:
    """Install what is missing or was left half installed, and say in `home` how far it is.

    Returns:
        Whether the part is whole now.
    """
    before = progress.read(home)
    halted = before is not None and before.state in {"installing", "interrupted"}
    extra = known.part(known.TRAINING).extra
    if not halted and not known.missing(extra):
        return True
    progress.write(home, "installing", now=clock.now())
    try:
        done = _installed(extra, known.damaged() if halted else [])
    except SystemExit:
        progress.write(home, "interrupted", now=clock.now())
        raise
    said = "" if done else f"it could not be installed; `{COMMAND}` says why"
    progress.write(home, "ready" if done else "failed", now=clock.now(), said=said)
    return done


def _await_gateway(chosen: settings.Settings) -> None:
    """Wait until the gateway answers: the first answer must not wait for this installation."""
    host = "127.0.0.1" if chosen.host in {"0.0.0.0", ""} else chosen.host  # noqa: S104 - asked, not listened on
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        # A server that listens may still be starting its workers.
        with suppress(httpx.TransportError):
            if httpx.get(f"http://{host}:{chosen.port}/readyz", timeout=2.0).is_success:
                return
        time.sleep(_LOOK_SECONDS)


def _installed(extra: str, again: list[str]) -> bool:
    """Install the packages of an extra, with a line on the terminal now and then."""
    began = shown = time.monotonic()
    _say("being installed beside serving, ready in about a minute")

    def told(line: str) -> None:
        nonlocal shown
        if time.monotonic() - shown >= _LINE_SECONDS:
            shown = time.monotonic()
            _say(f"being installed for {shown - began:.0f} s: {line[:60]}")

    done = installing.install(
        known.requirements(extra),
        told=told,
        again=again,
        torch_index=installing.torch_cpu_index(),
        run=installing.follow_gently,
    )
    took = f"{time.monotonic() - began:.0f} s"
    _say(f"ready after {took}" if done else f"not installed after {took}; `{COMMAND}` says why")
    return done


def _say(what: str) -> None:
    sys.stderr.write(f"{known.TRAINING}: {what}\n")
    sys.stderr.flush()


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End, and take the installer along: `installing.follow` ends it on its way out."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
