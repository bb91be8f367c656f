"""Child processes that stand and fall together with their parent.

Signals are forwarded, the first child that ends takes the others along, and the kernel ends a
child whose parent was killed, so that no server is left behind on a port. A companion is started
again where it ends by itself: serving does not end because something beside it did.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LOOK_SECONDS = 0.1
# Run by the child before it becomes the command: a function between fork and exec could wait for
# ever for a lock that one of this process's threads held at the fork. 1 is PR_SET_PDEATHSIG of
# prctl(2), 15 is SIGTERM; a parent that died before that is noticed by its number.
_LEASH = """
import ctypes, os, sys
prctl = getattr(ctypes.CDLL(None), "prctl", None)
if prctl:
    prctl(1, 15)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def run(
    commands: Sequence[Sequence[str]],
    *,
    environment: Mapping[str, str],
    folder: Path,
    companions: Sequence[Sequence[str]] = (),
    grace_seconds: float = 15.0,
    pause_seconds: float = 2.0,
) -> int:
    """Run commands side by side until the first one ends or a signal ends them.

    Args:
        commands: Program and arguments of each.
        environment: Of every child, as a whole.
        folder: Where they run.
        companions: Likewise, but each is started again when it ends by itself.
        grace_seconds: How long a child may take to end by itself before it is killed.
        pause_seconds: How long a companion stays down before it is started again.

    Returns:
        The exit status of the first that ended; 128 + n where signal n ended it.
    """
    leading = [_Child(each, environment, folder) for each in commands]
    beside = [_Child(each, environment, folder) for each in companions]
    everyone = [*leading, *beside]
    with _forwarding(everyone) as ending:
        try:
            for child in everyone:
                child.start()
            while all(child.status() is None for child in leading):
                time.sleep(_LOOK_SECONDS)
                if not ending:
                    for child in beside:
                        child.revive(pause_seconds)
            ended = next(child.status() or 0 for child in leading if child.status() is not None)
        finally:
            _end([child.process for child in everyone if child.process], grace_seconds)
    return ended if ended >= 0 else 128 - ended


def leashed(command: Sequence[str]) -> list[str]:
    """Return a command line that ends by SIGTERM when this process is gone, however it went."""
    return [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), *command]


def become(command: Sequence[str], *, environment: Mapping[str, str], folder: Path) -> NoReturn:
    """Replace this process by `command`, keeping its number, its terminal and its parent.

    Args:
        command: Program, as a path, and arguments.
        environment: Of the new program, as a whole.
        folder: Where it runs.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir(folder)
    os.execve(command[0], list(command), dict(environment))  # noqa: S606 - our own command


class _Child:
    """A command and the process that runs it now."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> None:
        self.command, self.environment, self.folder = command, environment, folder
        self.process: subprocess.Popen[bytes] | None = None
        self.down_since: float | None = None

    def start(self) -> None:
        self.down_since = None
        self.process = subprocess.Popen(  # noqa: S603 - our own commands
            leashed(self.command),
            env=dict(self.environment),
            cwd=self.folder,
            start_new_session=True,  # a terminal's Ctrl-C reaches them once, through us
        )

    def status(self) -> int | None:
        """Return the exit status; None while it runs."""
        return self.process.poll() if self.process else None

    def revive(self, pause_seconds: float) -> None:
        """Start it again if it has been down for the pause."""
        if self.status() is None:
            return
        self.down_since = self.down_since or time.monotonic()
        if time.monotonic() - self.down_since >= pause_seconds:
            self.start()


@contextmanager
def _forwarding(children: Sequence[_Child]) -> Iterator[list[int]]:
    """Pass signals on to the children meanwhile; yield the list of those that came."""
    came: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        for child in children:
            if child.process:
                child.process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(children: Sequence[subprocess.Popen[bytes]], grace_seconds: float) -> None:
    deadline = time.monotonic() + grace_seconds
    for child in children:
        if child.poll() is None:
            child.terminate()
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
