"""Child processes that stand and fall together with their parent.

Signals are forwarded, the first child that ends takes the others along, and the kernel ends a
child whose parent was killed, so that no server is left behind on a port.
"""

import ctypes
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
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def run(
    commands: Sequence[Sequence[str]],
    *,
    environment: Mapping[str, str],
    folder: Path,
    grace_seconds: float = 15.0,
) -> int:
    """Run commands side by side until the first one ends or a signal ends them.

    Args:
        commands: Program and arguments of each.
        environment: Of every child, as a whole.
        folder: Where they run.
        grace_seconds: How long a child may take to end by itself before it is killed.

    Returns:
        The exit status of the first that ended; 128 + n where signal n ended it.
    """
    children: list[subprocess.Popen[bytes]] = []
    with _forwarding(children):
        try:
            for command in commands:
                child = _start(command, environment, folder)
                children.append(child)
            while all(child.poll() is None for child in children):
                time.sleep(_LOOK_SECONDS)
            ended = next(child.returncode for child in children if child.returncode is not None)
        finally:
            _end(children, grace_seconds)
    return ended if ended >= 0 else 128 - ended


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


def _start(
    command: Sequence[str], environment: Mapping[str, str], folder: Path
) -> subprocess.Popen[bytes]:
    libc = ctypes.CDLL(None)

    def die_with_parent() -> None:
        libc.prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)

    return subprocess.Popen(  # noqa: S603 - our own commands
        command,
        env=dict(environment),
        cwd=folder,
        start_new_session=True,  # a terminal's Ctrl-C reaches them once, through us
        preexec_fn=die_with_parent,  # noqa: PLW1509 - one thread here, and one system call
    )


@contextmanager
def _forwarding(children: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Pass signals on to the children meanwhile."""

    def forward(number: int, _frame: FrameType | None) -> None:
        for child in children:
            child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield
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
