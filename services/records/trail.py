"""What was answered, found again at once: in the audit store, or else still in the journal."""

import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from audit import records
from audit.errors import JournalError, RecordError
from audit.journal import lines
from audit.journal.lines import Place
from services.records.images import ImageFolder


class Predictions(Protocol):
    """The part of the audit store that finds an ingested answer."""

    def prediction(self, prediction_id: str) -> records.PredictionRecord | None:
        """Return the record, or None where it is unknown or erased."""

    def places(self) -> Mapping[str, Place]:
        """Return up to where each source of the journal is ingested."""


@dataclass(frozen=True, slots=True)
class Trail:
    """Finds answers by their id.

    Attributes:
        journal: The journal's folder.
        images: Where ingested images lie.
        store: Opens the audit store for one question; returns None where there is none yet.
    """

    journal: Path
    images: ImageFolder
    store: Callable[[], Predictions | None]

    def find(self, prediction_id: str) -> records.PredictionRecord | None:
        """Return what was answered under this id; None where it is unknown or erased."""
        store = self.store()
        found = store.prediction(prediction_id) if store else None
        if found is not None:
            return found
        for entry in self._waiting(prediction_id, store.places() if store else {}):
            if isinstance(entry, records.PredictionRecord):
                return entry
        # It may have moved from the journal to the store between the two looks.
        return store.prediction(prediction_id) if store else None

    def image(self, prediction_id: str) -> bytes | None:
        """Return the PNG of the pixels behind an answer; None where none is kept."""
        record = self.find(prediction_id)
        if record is None or record.image is None:
            return None
        kept = self.images.read(record.image)
        if kept is not None:
            return kept
        store = self.store()
        for entry in self._waiting(prediction_id, store.places() if store else {}):
            if isinstance(entry, records.ImageRecord):
                return entry.png.data
        return self.images.read(record.image)

    def waiting(self, event_id: str) -> records.Entry | None:
        """Return what is written under this id and not ingested yet; None where nothing is."""
        store = self.store()
        return next(self._waiting(event_id, store.places() if store else {}), None)

    def _waiting(self, event_id: str, places: Mapping[str, Place]) -> Iterator[records.Entry]:
        """Yield the entries of this id in the part of the journal that is not ingested."""
        for segment in reversed(lines.segments(self.journal)):
            place = places.get(segment.source)
            if place is not None and segment.number < place.segment.number:
                continue
            start = place.offset if place is not None and place.segment == segment else 0
            yield from _search(self.journal / segment.name, start, event_id)


def _search(path: Path, start: int, event_id: str) -> Iterator[records.Entry]:
    """Yield the entries of one segment whose own id is `event_id`; looks at bytes before lines."""
    needle = b'"event_id":"' + event_id.encode() + b'"'
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            at = view.find(needle, start)
            while at >= 0:
                begin, end = view.rfind(b"\n", 0, at) + 1, view.find(b"\n", at)
                if end < 0:
                    return
                # What was ingested before may be wiped, its line's end too.
                line = view[begin : end + 1].lstrip(b"\0")
                if (found := _entry(line)) is not None:
                    yield found
                at = view.find(needle, end)
    except (FileNotFoundError, ValueError):  # ingested and deleted meanwhile, or still empty
        return


def _entry(line: bytes) -> records.Entry | None:
    """Return what a line holds; None for one that cannot be read.

    It may be gone since its id was seen, ingested and deleted; a damaged one is the auditor's to
    record. Either way this question is answered by what else is there.
    """
    try:
        return records.from_bytes(lines.entry_of(line))
    except (RecordError, JournalError):
        return None
