"""The asynchronous writing end: hands entries to a thread and returns at once.

What was handed over may be lost when the process dies, and is dropped when the journal cannot be
written or does not keep up. Every dropped entry is counted; `dropped` above zero must reach an
operator.
"""

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from audit.errors import JournalUnavailableError
from audit.journal.writer import Writer

CAPACITY = 4096
BATCH = 256


@dataclass(slots=True)
class BackgroundWriter:
    """Appends entries through a `Writer` in a thread of its own.

    Attributes:
        writer: Does the writing; closed with this.
        dropped: Entries that were handed over and are not in the journal.
    """

    writer: Writer
    dropped: int = 0
    _handed: queue.Queue[Sequence[bytes] | None] = field(
        default_factory=lambda: queue.Queue(maxsize=CAPACITY)
    )
    _thread: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def append(self, entries: Sequence[bytes]) -> None:
        """Hand `entries` over; they are written in order, soon, or counted as dropped."""
        with self._lock:  # the thread starts late: a server may fork after building this
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
                self._thread.start()
        try:
            self._handed.put_nowait(entries)
        except queue.Full:
            self._drop(len(entries))

    def flush(self) -> None:
        """Wait until everything handed over so far is written or dropped."""
        self._handed.join()

    def close(self) -> None:
        """Write what was handed over, then stop."""
        if self._thread is not None:
            self._handed.put(None)
            self._thread.join()
            self._thread = None
        self.writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        stop = False
        while not stop:
            taken = [self._handed.get()]
            while len(taken) < BATCH and not self._handed.empty():
                taken.append(self._handed.get())
            stop = None in taken
            entries = [entry for handed in taken if handed is not None for entry in handed]
            try:
                self.writer.append(entries)
            except JournalUnavailableError:
                self._drop(len(entries))
            for _ in taken:
                self._handed.task_done()

    def _drop(self, count: int) -> None:
        with self._lock:
            self.dropped += count
