"""Where a training attempt runs: a protocol, and this machine as its embedded form.

An attempt outlives whoever launched it. The launcher keeps nothing in memory: every question is
answered from the attempt's folder, so a new runner finds the attempts of the old one.

    <root>/<retraining>/attempt-<n>/   job.json  started.json  exit.json  cancel  lock  log

The folder is the claim (`mkdir` succeeds once); a folder is never started twice.
"""

import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from services.errors import ServiceError
from services.retraining.jobs import shim

_SHIM = Path(shim.__file__)
_CHUNK = 256 * 1024


class LaunchError(ServiceError):
    """An attempt cannot be launched as asked."""


class UnreachableError(LaunchError):
    """Whoever runs the attempts does not answer; what runs there may go on."""


class State(StrEnum):
    """Where an attempt stands."""

    UNKNOWN = "UNKNOWN"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    LOST = "LOST"
    UNREACHABLE = "UNREACHABLE"

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self not in _OPEN


_OPEN = frozenset({State.UNKNOWN, State.PENDING, State.RUNNING, State.UNREACHABLE})


@dataclass(frozen=True, slots=True)
class Key:
    """Names one attempt everywhere.

    Attributes:
        retraining: The retraining's id.
        attempt: Counts from 1 within it.
    """

    retraining: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.retraining}-{self.attempt}"


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What to run.

    Attributes:
        command: Program, as a path, and arguments.
        folder: Where it runs.
        environment: Its environment, as a whole.
        limit_seconds: Longest time that it may take.
        grace_seconds: How long it may take to end once asked.
    """

    command: Sequence[str]
    folder: str
    environment: Mapping[str, str]
    limit_seconds: float
    grace_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Status:
    """What is known about an attempt.

    Attributes:
        state: Where it stands.
        code: Exit code of the command; negative for the signal that ended it; None before.
        reason: A sentence for people; "" where the state says it all.
    """

    state: State
    code: int | None = None
    reason: str = ""


class Launcher(Protocol):
    """Runs attempts; every method may be called again, and from another process."""

    def folder(self, key: Key) -> Path:
        """Return where the attempt keeps its files."""
        ...

    def submit(self, key: Key, spec: JobSpec) -> None:
        """Start the attempt unless it was started before.

        Raises:
            LaunchError: If it was started before with another spec.
            UnreachableError: If nobody answers; asking again does no harm.
        """
        ...

    def status(self, key: Key) -> Status:
        """Say where the attempt stands."""
        ...

    def cancel(self, key: Key) -> None:
        """Ask the attempt to end; it is made to end after its grace."""
        ...

    def logs(self, key: Key, offset: int) -> tuple[bytes, int]:
        """Return the output from byte `offset` on, and the offset to go on from."""
        ...


@dataclass(frozen=True, slots=True)
class LocalLauncher:
    """Attempts as processes of this machine, each under a small shim that outlives us.

    Attributes:
        root: Folder of all attempts; on a local disk, since liveness is a file lock.
        pending_seconds: How long a shim may take to start before the attempt counts as lost.
    """

    root: Path
    pending_seconds: float = 10.0

    def folder(self, key: Key) -> Path:
        """Return the attempt's folder."""
        return self.root / key.retraining / f"attempt-{key.attempt}"

    def submit(self, key: Key, spec: JobSpec) -> None:
        """Claim the folder and start a shim; a second call with the same spec does nothing.

        Raises:
            LaunchError: If the attempt was started before with another spec.
        """
        folder = self.folder(key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        named = digest(spec.command)
        job = {**asdict(spec), "command": list(spec.command), "digest": named}
        try:
            folder.mkdir()
        except FileExistsError:
            self._refuse_other(key, named)
            return
        shim.write(folder / shim.JOB, job)
        _spawn([sys.executable, "-S", "-E", str(_SHIM), str(folder.absolute())])

    def status(self, key: Key) -> Status:
        """Read where the attempt stands off its folder."""
        folder = self.folder(key)
        if not folder.is_dir():
            return Status(State.UNKNOWN, reason="no such attempt on this machine")
        if not (folder / shim.STARTED).exists():
            age = time.time() - folder.stat().st_mtime  # noqa: TID251 - against a file's own clock
            # The folder's time moves with every file in it: the claim is the job's age or its own.
            if age <= self.pending_seconds:
                return Status(State.PENDING)
            if not (folder / shim.STARTED).exists():
                return Status(State.LOST, reason="the shim never started")
        if _is_held(folder / shim.LOCK):
            return Status(State.RUNNING)
        # Free: it has ended, and may have done so since we looked.
        ended = _read(folder / shim.EXIT)
        if ended is None:
            return Status(State.LOST, reason="the shim was killed")
        return Status(State(ended["state"]), ended["code"])

    def cancel(self, key: Key) -> None:
        """Leave the mark that the shim looks for; an attempt that has ended is not touched."""
        folder = self.folder(key)
        if folder.is_dir():
            (folder / shim.CANCEL).touch()

    def logs(self, key: Key, offset: int) -> tuple[bytes, int]:
        """Return the output from byte `offset` on, at most 256 KiB, and where to go on."""
        try:
            with (self.folder(key) / shim.LOG).open("rb") as file:
                file.seek(offset)
                part = file.read(_CHUNK)
        except FileNotFoundError:
            return b"", offset
        return part, offset + len(part)

    def _refuse_other(self, key: Key, wanted: str) -> None:
        end = time.monotonic() + self.pending_seconds
        while (known := _read(self.folder(key) / shim.JOB)) is None:
            if time.monotonic() > end:
                return  # claimed by one who died before writing: `status` will say LOST
            time.sleep(0.02)
        # Not the digest in the file: an earlier program may have made it otherwise.
        if digest(known["command"]) != wanted:
            raise LaunchError(f"attempt {key} was started before with another job")


def end_all(root: Path, *, seconds: float) -> bool:
    """Ask every attempt under a folder to end, and wait for it; return whether all have ended.

    Args:
        root: As of a `LocalLauncher`.
        seconds: How long to wait.
    """
    folders = [each.parent for each in root.rglob(shim.JOB)]
    for each in folders:
        (each / shim.CANCEL).touch()
    end = time.monotonic() + seconds
    while any(_is_held(each / shim.LOCK) for each in folders):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def digest(command: Sequence[str]) -> str:
    """Return what tells two jobs apart: the words of the command that are no paths.

    Limits, environment and the places of program and folders may change while an attempt runs: by
    a setting, an update, a move. It stays the same attempt.
    """
    told = [each for each in command if not Path(each).is_absolute()]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def pages(launcher: Launcher, key: Key, offset: int) -> Iterator[tuple[bytes, int]]:
    """Yield the output from byte `offset` on to its present end, and where to go on after each."""
    while True:
        part, offset = launcher.logs(key, offset)
        if not part:
            return
        yield part, offset


def _spawn(command: Sequence[str]) -> None:
    """Start a process that is nobody's child: its parent ends at once.

    BentoML ends the direct children of a worker that stops, and so do terminals; a process that
    was forked twice, in a session of its own, is out of their reach.
    """
    between = os.posix_spawn(
        sys.executable,
        [sys.executable, "-S", "-E", "-c", _DOUBLE_FORK, *command],
        {"PATH": os.defpath},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)
        ],
        setsid=True,
    )
    os.waitpid(between, 0)


# Run in a fresh interpreter: forking one that has threads (DBOS) is not safe.
_DOUBLE_FORK = "import os, sys\nif os.fork() == 0:\n    os.execv(sys.argv[1], sys.argv[1:])\n"


def _is_held(lock: Path) -> bool:
    """Whether a shim lives; asked with a shared lock, which no other asker mistakes for one."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    return value
