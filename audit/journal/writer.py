"""The writing end of a journal: returns when the entries are as durable as was asked.

`durability` says what "written" means. "fsync": each call syncs for itself. "group": calls that
arrive while another one syncs share the next sync, which costs a waiting request no more and a
busy server far less. "os": the operating system has it; survives the death of the process, not of
the machine.

After a failure the segment is cut back to its last acknowledged line and left; the next call
starts a new one. So whatever was acknowledged stands, and a refused entry stands only if cutting
back failed too.
"""

import contextlib
import fcntl
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self, TypeAlias

from audit.errors import JournalUnavailableError
from audit.journal import lines

Durability: TypeAlias = Literal["fsync", "group", "os"]
SEGMENT_BYTES = 16 * 2**20
RESERVE_BYTES = 64 * 2**20


@dataclass(slots=True, eq=False)
class _Call:
    """One call of `append` on its way to the file."""

    entries: Sequence[bytes]
    done: bool = False
    failure: OSError | None = None


@dataclass(slots=True)
class _Open:
    """The segment that is being written."""

    segment: lines.Segment
    descriptor: int
    offset: int
    check: int


@dataclass(slots=True)
class Writer:
    """Appends entries to the segments of one source; safe to use from several threads.

    Attributes:
        folder: Where the segments lie; created when missing.
        source: This run of this writer; must never have been used in `folder` before.
        durability: When a call returns.
        reserve_bytes: Refuse to write when the disk has less room than this.
        segment_bytes: Begin a new segment when one has grown to this.
    """

    folder: Path
    source: str
    durability: Durability = "group"
    reserve_bytes: int = RESERVE_BYTES
    segment_bytes: int = SEGMENT_BYTES
    _number: int = 0
    _open: _Open | None = None
    _waiting: list[_Call] = field(default_factory=list)
    _leading: bool = False
    _turn: threading.Condition = field(default_factory=threading.Condition)

    def append(self, entries: Sequence[bytes]) -> None:
        """Write `entries` in order, all or none acknowledged; return when they are durable.

        Args:
            entries: Canonical texts without a newline.

        Raises:
            JournalUnavailableError: If they could not be written; the next call tries again.
        """
        call = _Call(entries)
        if (calls := self._led(call)) is not None:
            try:
                self._write(calls)
            finally:
                self._pass_on()
        if call.failure is not None:
            raise JournalUnavailableError(
                f"the journal in {self.folder} cannot be written: {call.failure}"
            ) from call.failure

    def close(self) -> None:
        """Close the segment; a later `append` begins a new one."""
        with self._turn:
            while self._leading:
                self._turn.wait()
            self._leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _led(self, own: _Call) -> Sequence[_Call] | None:
        """Wait until another has written `own`, or return the calls that are ours to write.

        Who is done leaves at once: it never queues behind the next one's sync.
        """
        with self._turn:
            shared = self.durability != "fsync"
            if shared:
                self._waiting.append(own)
            while self._leading and not own.done:
                self._turn.wait()
            if own.done:
                return None
            self._leading = True
            if not shared:
                return [own]
            calls, self._waiting = self._waiting, []
            return calls

    def _pass_on(self) -> None:
        with self._turn:
            self._leading = False
            self._turn.notify_all()

    def _write(self, calls: Sequence[_Call]) -> None:
        """Write for everybody who waits, or for one alone where each syncs for itself."""
        failure: OSError | None = OSError("the writer was interrupted")
        try:
            self._commit([entry for call in calls for entry in call.entries])
            failure = None
        except OSError as error:
            failure = error
        finally:
            if failure is not None:
                self._cut()
            for call in calls:
                call.failure, call.done = failure, True

    def _commit(self, entries: Sequence[bytes]) -> None:
        now = self._segment()
        room = os.fstatvfs(now.descriptor)
        if room.f_bavail * room.f_frsize < self.reserve_bytes:
            raise OSError(f"less than {self.reserve_bytes} bytes of room left")
        encoded, check = [], now.check
        for entry in entries:
            line, check = lines.encode(entry, check)
            encoded.append(line)
        data = b"".join(encoded)
        _write_all(now.descriptor, data)
        if self.durability != "os":
            os.fdatasync(now.descriptor)
        now.offset, now.check = now.offset + len(data), check

    def _segment(self) -> _Open:
        if self._open is not None and self._open.offset >= self.segment_bytes:
            self._leave()
        if self._open is None:
            self._open = self._begin()
        return self._open

    def _begin(self) -> _Open:
        """Create the next segment, locked before it is visible: an unlocked one is finished."""
        self.folder.mkdir(parents=True, exist_ok=True)
        segment = lines.Segment(self.source, self._number + 1)
        hidden = self.folder / f".{segment.name}"
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC | os.O_TRUNC
        descriptor = os.open(hidden, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (self.folder / segment.name).exists():
                raise FileExistsError(f"{segment.name} exists: source names are used once")
            hidden.rename(self.folder / segment.name)
            if self.durability != "os":
                sync_folder(self.folder)
        except OSError:
            os.close(descriptor)
            self._withdraw(segment)
            raise
        self._number = segment.number
        return _Open(segment, descriptor, 0, segment.seed)

    def _cut(self) -> None:
        """Take back what a failed write may have left, and leave the segment."""
        if self._open is not None:
            # Where this fails too, the reader drops a torn line; whole refused lines stay.
            with contextlib.suppress(OSError):
                os.ftruncate(self._open.descriptor, self._open.offset)
            segment, empty = self._open.segment, self._open.offset == 0
            self._leave()
            if empty and self._withdraw(segment):
                self._number -= 1

    def _withdraw(self, segment: lines.Segment) -> bool:
        """Take away a segment without a line: only a dead writer may leave an empty one."""
        try:
            (self.folder / segment.name).unlink(missing_ok=True)
        except OSError:
            return False
        return True

    def _leave(self) -> None:
        if self._open is not None:
            opened, self._open = self._open, None
            os.close(opened.descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable.

    Raises:
        OSError: If the folder cannot be opened or synced.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
