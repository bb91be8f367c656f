"""The champions of all models as one worker serves them, and the candidates on trial beside them.

A worker looks at the pointers every `poll_seconds`. Where one has moved, it opens, checks and
warms the new version beside the old one, and then replaces one reference. A version that cannot
be served is rejected: the old one goes on, the reason is logged once, and the version is tried
again only when the pointer moves again. What answered before stays loaded, so that a rollback
needs no loading, nor does a candidate that becomes champion.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from models.champion import Champion
from models.errors import ModelsError, UnknownModelError
from models.registry import Registry, Version
from models.rollout import Rollout
from models.runtime import Served, Session, Slot
from models.types import ModelRef
from services import telemetry
from services.errors import NotReadyError
from services.rollouts.candidates import Candidate

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InService:
    """A model as this worker serves it.

    Attributes:
        ref: The version that answers.
        providers: ONNX Runtime's execution providers in use.
        since: When this worker began to answer with it.
    """

    ref: ModelRef
    providers: tuple[str, ...]
    since: datetime


class Champions:
    """Model name → what answers now. Reading is safe from any thread and never waits."""

    def __init__(
        self,
        registry: Registry,
        open_session: Callable[[Path], Session],
        clock: Callable[[], datetime],
        unusable: Callable[[str, Rollout, Exception], None] = lambda *_: None,
    ) -> None:
        """Load nothing yet.

        Args:
            registry: Models and versions.
            open_session: Loads the version in a folder, or raises a `ModelsError`.
            clock: The present.
            unusable: Told of a candidate that cannot be loaded.
        """
        self._registry, self._open, self._clock = registry, open_session, clock
        self._unusable = unusable
        self._candidates: dict[str, Candidate] = {}
        self._before: dict[str, Served] = {}
        self._given_up: dict[str, str] = {}
        self._slots: dict[str, Slot] = {}
        self._since: dict[str, datetime] = {}
        self._rejected: dict[str, ModelRef] = {}
        self._refreshing = threading.Lock()

    def current(self, model: str) -> Served:
        """Return what answers for `model` now, session and version, to be read once per request.

        Raises:
            UnknownModelError: If the registry has no such model.
            NotReadyError: If it has, but no version of it is in service here.
        """
        slot = self._slots.get(model)
        if slot is not None:
            return slot.current
        if model in self._registry.models():
            raise NotReadyError(f"model {model!r} has no version in service; promote one")
        raise UnknownModelError(f"no model {model!r} in the registry")

    def candidate(self, model: str) -> Candidate | None:
        """Return the version on trial beside the champion; None where there is none here."""
        return self._candidates.get(model)

    def in_service(self) -> list[InService]:
        """Return all models that this worker serves, by name."""
        served = [(slot.current, self._since[name]) for name, slot in sorted(self._slots.items())]
        return [InService(now.ref, now.session.providers, since) for now, since in served]

    def refresh(self) -> int:
        """Look at every pointer and take what has moved into service; return how many did."""
        with self._refreshing:
            return sum(self._follow_one(name) for name in self._registry.models())

    async def follow(self, seconds: float) -> None:
        """Refresh for ever, every so many seconds."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await asyncio.to_thread(self.refresh)
            except OSError as error:  # a full table of open files must not end the following
                _log.warning("the registry cannot be read now: %s", error)

    def _follow_one(self, name: str) -> bool:
        try:
            pointer = self._registry.pointer(name)
            taken = self._follow_champion(name, pointer)
            self._follow_candidate(name, pointer.rollout)
        except ModelsError as error:
            _log.debug("model %s has no champion: %s", name, error)
            return False
        return taken

    def _follow_champion(self, name: str, pointer: Champion) -> bool:
        slot = self._slots.get(name)
        wanted = ModelRef(name, pointer.version or 0, pointer.digest or "")
        if wanted == self._rejected.get(name) or (slot and slot.current.ref == wanted):
            return False
        return self._take(name, slot, self._registry.champion(name))

    def _follow_candidate(self, name: str, rollout: Rollout | None) -> None:
        known = self._candidates.get(name)
        if rollout is None or (known is not None and known.rollout == rollout):
            if rollout is None and known is not None:
                self._candidates.pop(name)
                telemetry.on_trial(name, 0, "", 0.0)
            return
        if self._given_up.get(name) == rollout.rollout_id:
            return
        try:
            version = self._registry.version(name, rollout.version)
            served = self._loaded(name, version)
        except ModelsError as error:
            self._given_up[name] = rollout.rollout_id
            self._candidates.pop(name, None)
            _log.error("candidate %d of %s cannot be tried: %s", rollout.version, name, error)
            self._unusable(name, rollout, error)
            return
        self._candidates[name] = Candidate(rollout, served)
        telemetry.on_trial(name, rollout.version, rollout.phase, rollout.share)
        _log.info("%s: version %d is on trial as %s", name, rollout.version, rollout.phase)

    def _loaded(self, name: str, version: Version) -> Served:
        """Return a version, opened and checked unless it is in memory already."""
        candidate, before = self._candidates.get(name), self._before.get(name)
        if candidate is not None and candidate.served.ref == version.ref:
            return candidate.served
        if before is not None and before.ref == version.ref:
            return before
        self._registry.verify(version)
        return Served(self._open(version.folder), version.ref)

    def _take(self, name: str, slot: Slot | None, version: Version) -> bool:
        try:
            served = self._loaded(name, version)
        except ModelsError as error:
            self._rejected[name] = version.ref
            telemetry.SWAPS.labels(name, "rejected").inc()
            # No traceback: the message says what is wrong with the version.
            _log.error("version %d of %s rejected: %s", version.ref.version, name, error)
            return False
        self._since[name] = self._clock()
        if slot is None:
            self._slots[name] = Slot(served.session, version.ref)
        else:
            self._before[name] = slot.swap(served.session, version.ref)
        self._rejected.pop(name, None)
        telemetry.SWAPS.labels(name, "taken").inc()
        telemetry.VERSION.labels(name).set(version.ref.version)
        _log.info("%s is served by version %d", name, version.ref.version)
        return True
