"""Fire drills on a schedule: the auditor tries itself, and says when it last could.

A thread beside the auditor's steps drills every champion in turn. The drill goes the whole way,
through the journal and the store, so it also finds that the steps themselves have stopped. By when
the next one is due is among the metrics: a drill that never comes is as loud as one that fails.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from audit.errors import AuditError
from models.errors import ModelsError
from models.registry import Registry, Version
from models.runtime import Session
from services import secret
from services.auditing import drill
from services.identifiers import identifier
from services.records import recording
from services.records.stores import StoreReader
from services.settings import Settings

LOG = logging.getLogger("rightly.auditor")
# A fresh auditor lets the service settle; one that is restarted often still drills at last.
SETTLE = timedelta(minutes=5)
_PATIENCE_SECONDS = 120.0
_LOOK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How a model stands with its drills.

    Attributes:
        due: By when the next one must have raised its alarm.
        succeeded: Whether the last one did; None where this auditor has seen none.
    """

    due: datetime
    succeeded: bool | None


@dataclass(slots=True)
class FireDrills:
    """Drills each champion when its time has come.

    Attributes:
        chosen: The settings.
        every: Between two drills of a model.
        began: When this auditor began.
        now: The clock.
        drilled: Model → when a drill of it last raised its alarm, as the ingestion has it.
        standing: Model → how it stands.
    """

    chosen: Settings
    every: timedelta
    began: datetime
    now: Callable[[], datetime]
    drilled: Callable[[], Mapping[str, datetime]]
    standing: dict[str, Standing] = field(default_factory=dict)
    _tried: dict[str, datetime] = field(default_factory=dict)

    def step(self, stop: threading.Event) -> None:
        """Drill the champions whose time has come, one after the other."""
        registry = Registry(self.chosen.registry)
        champions = _champions(registry)
        for gone in self.standing.keys() - champions.keys():
            self.standing.pop(gone)
        for model, (version, since) in champions.items():
            if stop.is_set():
                return
            if self._is_due(model):
                self._drill(version, stop)
            self._update(model, since)

    def _is_due(self, model: str) -> bool:
        now = self.now()
        self.began = min(self.began, now)
        settled = self.began + min(SETTLE, self.every)
        # One that is ahead of now was held before the clock went back; when, nobody knows.
        held = [self.drilled().get(model), self._tried.get(model)]
        last = max((each for each in held if each is not None and each <= now), default=None)
        return now >= settled and (last is None or now >= last + self.every)

    def _drill(self, version: Version, stop: threading.Event) -> None:
        model = version.ref.name
        self._tried[model] = self.now()
        store = StoreReader(self.chosen.store)
        recorder = recording.open_recorder(
            self.chosen.journal,
            source=identifier(self.now()),
            key=secret.secret_key(self.chosen.home / "image.key"),
            durability="fsync",
        )
        try:
            session = Session.open(version.folder, device="cpu", threads=1)
            outcome = drill.drill(
                version,
                session,
                recorder,
                store,
                clock=self.now,
                patience=_PATIENCE_SECONDS,
                actor="auditor",
                stop=stop,
            )
        finally:
            recorder.close()
            store.close()
        if stop.is_set() and not outcome.alarmed:
            return  # nobody was left who could have raised it
        if not outcome.alarmed:
            LOG.error("the fire drill of %s has raised no alarm", model)
        self.standing[model] = Standing(self.now() + self.every, outcome.alarmed)

    def _update(self, model: str, since: datetime) -> None:
        last = min(self.drilled().get(model, since), self.now())
        known = self.standing.get(model)
        self.standing[model] = Standing(last + self.every, known.succeeded if known else None)


@contextmanager
def running(drills: FireDrills) -> Iterator[None]:
    """Drill in a thread while the block runs; not at all where there is no time between drills."""
    if not drills.every:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_run, args=(drills, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _run(drills: FireDrills, stop: threading.Event) -> None:
    pause = min(_LOOK_SECONDS, drills.every.total_seconds() / 10)
    while not stop.is_set():
        try:
            drills.step(stop)
        except (AuditError, ModelsError, OSError):
            LOG.exception("a fire drill could not be held")
        stop.wait(pause)


def _champions(registry: Registry) -> Mapping[str, tuple[Version, datetime]]:
    """Return each model's champion, and since when the model has had one."""
    found = {}
    for model in registry.models():
        moves = registry.pointer(model).history
        if moves:
            found[model] = (registry.champion(model), datetime.fromisoformat(moves[0].at))
    return found
