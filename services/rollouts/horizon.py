"""Until when the evidence about candidates is complete.

Evidence is what the auditor has ingested. Where it is behind, dead, or the store does not answer,
nothing bad is known, and that is no good news. So every look remembers how far the journal was
written at that moment; once the store has got there, everything up to that moment is known.
"""

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from audit.journal import reader
from audit.journal.lines import Place

# Looks that are remembered while the auditor is behind.
_MARKS: Final = 256
# Reached ones are kept as well: another thread may have read the store a little earlier.
_KEPT: Final = timedelta(seconds=30)


class Horizon:
    """How far the evidence of this installation reaches; safe in threads.

    Attributes:
        began: Since when this process looks.
    """

    def __init__(self, journal: Path, began: datetime) -> None:
        """Know nothing yet.

        Args:
            journal: The journal's folder.
            began: The present.
        """
        self.began = began
        self._journal = journal
        self._marks: list[tuple[datetime, Mapping[str, tuple[int, int]]]] = []
        self._until: datetime | None = None
        self._lock = threading.Lock()

    def mark(self, now: datetime) -> None:
        """Remember how far the journal is written; to be called before the store is asked.

        A folder that is not there tells nothing: whoever is on trial has written to it.
        """
        if not self._journal.is_dir():
            return
        written = reader.ends(self._journal)
        with self._lock:
            # A clock that went back makes what lies ahead of it meaningless.
            self._marks = [each for each in self._marks if each[0] <= now]
            if len(self._marks) >= _MARKS:
                del self._marks[1::2]  # fewer of them, the oldest and the span stay
            self._marks.append((now, written))
            if self._until is not None and self._until > now:
                self._until = None

    def reach(self, ingested: Mapping[str, Place]) -> datetime | None:
        """Return until when everything is known; None where that was never so.

        Args:
            ingested: Up to where each source of the journal is in the store, read after `mark`.
        """
        with self._lock:
            reached = [at for at, written in self._marks if _covers(ingested, written)]
            if not reached:
                return None
            newest = max(reached)
            self._until = max(newest, self._until or newest)
            self._marks = [each for each in self._marks if each[0] >= newest - _KEPT]
            return newest

    @property
    def until(self) -> datetime | None:
        """The latest that `reach` has returned."""
        with self._lock:
            return self._until


def _covers(ingested: Mapping[str, Place], written: Mapping[str, tuple[int, int]]) -> bool:
    return all(
        source in ingested and (ingested[source].segment.number, ingested[source].offset) >= end
        for source, end in written.items()
    )
