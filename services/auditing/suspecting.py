"""When the auditor looks for suspected shortcuts: after enough new answers, or on request.

The work is bounded: one class at a time, its latest answers only, and a pause between two looks
that nobody asked for.
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from audit import records
from audit.clusters import FEWEST, MOST
from audit.errors import HeatmapError
from audit.store import searching, suspicions
from audit.store.ledger import Batch, Ledger
from audit.store.searching import Group

LOG = logging.getLogger("rightly.auditor")
# Between two groupings that nobody asked for: a grouping of 400 answers takes a third of a second.
PAUSE = timedelta(seconds=5)
# Classes whose new answers are counted; more are looked at on request only.
MOST_CLASSES = 5_000


@dataclass(slots=True)
class Suspecting:
    """Counts what is new, and looks when it is time.

    Attributes:
        identify: Makes ids for a moment.
        every: New answers of a class after which its heatmaps are grouped again; 0 for only on
            request.
        most: The latest answers of a class that are grouped.
        fresh: Class → its answers since the last look.
        asked: Classes that somebody wants looked at, in that order.
        standing: What is current and suspicious, for the gauge: model, version, class, verdict,
            score.
    """

    identify: Callable[[datetime], str]
    every: int = 100
    most: int = 400
    fresh: dict[Group, int] = field(default_factory=dict)
    asked: deque[Group] = field(default_factory=deque)
    standing: list[tuple[str, int, str, str, float]] = field(default_factory=list)
    _looked: datetime | None = None

    def __post_init__(self) -> None:
        if not FEWEST <= self.most <= MOST or self.every < 0:
            raise ValueError(f"groups take {FEWEST} to {MOST} answers, not {self.most}")

    def reload(self, ledger: Ledger) -> None:
        """Count again from the store, as after a restart or a step that failed."""
        with ledger.engine.begin() as connection:
            self.fresh = searching.recall_counts(connection)
            self.standing = list(suspicions.standing(connection))
        self.asked.clear()

    def react(self, batch: Batch, event: records.Event) -> None:
        """Take one event: an answer to count, a wish to look, a verdict."""
        match event:
            case records.PredictionRecord(stream="live"):
                group = Group(event.model.name, event.model.version, event.decided.label)
                if group in self.fresh or len(self.fresh) < MOST_CLASSES:
                    self.fresh[group] = self.fresh.get(group, 0) + 1
            case records.ActionEvent(action="suspicion_search"):
                wanted = searching.classes_of(batch.connection, event.details.get("model", ""))
                self.asked.extend(each for each in wanted if each not in self.asked)
            case records.ActionEvent(action="suspicion_verdict"):
                self.standing = list(suspicions.standing(batch.connection))
            case _:
                pass

    def look(self, ledger: Ledger, *, now: datetime) -> bool:
        """Group the heatmaps of the class whose turn it is.

        Returns:
            Whether something was written down.
        """
        group = self._next(now)
        if group is None:
            return False
        with ledger.batch(now=now) as batch:
            try:
                found = searching.search(batch, group, most=self.most, event_id=self.identify(now))
            except HeatmapError as error:
                LOG.warning("the heatmaps of %s cannot be grouped: %s", group, error)
                found = None
            self.standing = list(suspicions.standing(batch.connection))
        self.fresh[group] = 0
        return found is not None

    def _next(self, now: datetime) -> Group | None:
        if self.asked:
            return self.asked.popleft()
        if self._looked is not None and abs(now - self._looked) < PAUSE:
            return None
        due = [each for each, count in self.fresh.items() if 0 < self.every <= count]
        if not due:
            return None
        self._looked = now
        return max(due, key=lambda each: (self.fresh[each], each))
