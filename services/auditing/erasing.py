"""When the auditor erases: what was asked for once all before it is read, what is old in its time.

An erasure waits until everything that was in the journal when it was seen is ingested, so that
nothing of its subject comes after it. That needs no quiet moment: each source has to pass the end
that it had then, however fast it grows.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy.engine import Connection

from audit import records
from audit.journal import clearing, reader
from audit.journal.lines import Place
from audit.store import erasure, waiting
from audit.store.ledger import Ingested, Ledger
from services.auditing.passage import Passage
from services.records.images import ImageFolder

LOG = logging.getLogger("rightly.auditor")
# Seconds between two looks at what has expired; each takes a share of it at most.
EXPIRE_EVERY = 3600.0


@dataclass(slots=True)
class Erasing:
    """What the auditor erases.

    Attributes:
        journal: The journal's folder.
        ledger: The store.
        images: Where images lie.
        identify: Makes ids for a moment.
        retention: How long what is kept.
        forget: Takes predictions out of training manifests.
        ticks: Seconds that only go forward.
    """

    journal: Path
    ledger: Ledger
    images: ImageFolder
    identify: Callable[[datetime], str]
    retention: erasure.Retention
    forget: erasure.Forget
    ticks: Callable[[], float]
    _passage: Passage = field(default_factory=Passage)
    _asked: bool = True
    _left: bool = False
    _until: int | None = None
    _awaited: dict[str, tuple[int, int]] = field(default_factory=dict)
    _expired: float | None = None

    def reload(self, connection: Connection) -> None:
        """Forget what a failed step left in memory; take it from the store again."""
        self._asked = erasure.asked(connection) is not None
        self._left = bool(waiting.left_behind(connection))
        self._until, self._awaited = None, {}

    def begin(self, before: datetime | None, *, now: datetime) -> None:
        """Start to watch the clock; `before` is when the store last took something."""
        self._passage.begin(before, now, self.ticks())

    def notice(self, event: records.Event) -> None:
        """Take one event: a request to erase."""
        self._asked |= isinstance(event, records.ErasureRequest)

    def look_after(self, ingested: Sequence[Ingested], applied: Sequence[Ingested]) -> None:
        """Remember to look whether what could not be applied is about erased answers."""
        done = {each.seq for each in applied}
        self._left |= any(
            each.seq not in done for each in ingested if isinstance(each.event, waiting.TRUTHS)
        )

    def step(
        self, places: Mapping[str, Place], drained: Collection[str], *, now: datetime
    ) -> bool:
        """Erase what is due.

        Args:
            places: Up to where each source of the journal is ingested.
            drained: Sources that were read to their end in this step.
            now: When.

        Returns:
            Whether the store has new events.
        """
        if self._asked and self._until is None:
            with self.ledger.engine.connect() as connection:
                self._until = erasure.asked(connection)
            self._awaited = dict(reader.ends(self.journal)) if self._until is not None else {}
        else:
            for source in drained:
                self._awaited.pop(source, None)
        if self._awaited:
            there = reader.ends(self.journal)  # what was read and left is taken away
            self._awaited = {
                source: end
                for source, end in self._awaited.items()
                if source in there and not _passed(places.get(source), end)
            }
        ready = self._until is not None and not self._awaited
        jumped, ticks = self._jumped(now), self.ticks()
        due = self._passage.trusted(ticks)
        due = due and (self._expired is None or ticks - self._expired >= EXPIRE_EVERY)
        if not (ready or self._left or due):
            return jumped
        return self._erase(places, ready=ready, due=due, now=now) or jumped

    def _jumped(self, now: datetime) -> bool:
        """Compare the clocks; write a jump down."""
        moved = self._passage.look(now, self.ticks())
        if moved is None:
            return False
        LOG.error("the clock has jumped by %s; nothing expires for a day", moved)
        details = {"moved_seconds": f"{moved.total_seconds():.0f}", "consequence": "no expiry"}
        with self.ledger.batch(now=now) as batch:
            batch.append(records.ActionEvent(self.identify(now), now, "clock", "auditor", details))
        return True

    def _erase(
        self, places: Mapping[str, Place], *, ready: bool, due: bool, now: datetime
    ) -> bool:
        gone: list[str] = []

        def forget(prediction_ids: Sequence[str]) -> Sequence[str]:
            gone.extend(prediction_ids)
            return self.forget(prediction_ids)

        with self.ledger.batch(now=now) as batch:
            before = batch.head
            identify = lambda: self.identify(now)  # noqa: E731 - a name for the moment
            erased = erasure.erase_requested(
                batch, identify=identify, forget=forget, until=self._until if ready else 0
            )
            expired = erasure.expire(batch, self.retention, identify=identify) if due else None
            for address in erased.images + (expired.images if expired else ()):
                self.images.erase(address)
            if ready:
                self._asked = erasure.asked(batch.connection) is not None
        if due:
            self._expired = self.ticks()
        if ready:
            self._until = None
        self._left = False
        self.forget(gone)  # again: what was collected before the commit had not seen it
        if erased.sequences:
            clearing.blank(self.journal, places)
            self.ledger.forget_traces()
        return batch.head != before


def _passed(place: Place | None, end: tuple[int, int]) -> bool:
    return place is not None and (place.segment.number, place.offset) >= end
