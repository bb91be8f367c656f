"""The champions of all models as one worker serves them, following their pointers.

A worker looks at the pointers every `poll_seconds`. Where one has moved, it opens, checks and
warms the new version beside the old one, and then replaces one reference. A version that cannot
be served is rejected: the old one goes on, the reason is logged once, and the version is tried
again only when the pointer moves again.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from models.errors import ModelsError, UnknownModelError
from models.registry import Registry, Version
from models.runtime import Served, Session, Slot
from models.types import ModelRef
from services import telemetry
from services.errors import NotReadyError

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
    ) -> None:
        self._registry, self._open, self._clock = registry, open_session, clock
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
        slot = self._slots.get(name)
        try:
            pointer = self._registry.pointer(name)
            wanted = ModelRef(name, pointer.version or 0, pointer.digest or "")
            if wanted == self._rejected.get(name) or (slot and slot.current.ref == wanted):
                return False
            version = self._registry.champion(name)
        except ModelsError as error:
            _log.debug("model %s has no champion: %s", name, error)
            return False
        return self._take(name, slot, version)

    def _take(self, name: str, slot: Slot | None, version: Version) -> bool:
        try:
            self._registry.verify(version)
            session = self._open(version.folder)
        except ModelsError as error:
            self._rejected[name] = version.ref
            telemetry.SWAPS.labels(name, "rejected").inc()
            # No traceback: the message says what is wrong with the version.
            _log.error("version %d of %s rejected: %s", version.ref.version, name, error)
            return False
        self._since[name] = self._clock()
        if slot is None:
            self._slots[name] = Slot(session, version.ref)
        else:
            slot.swap(session, version.ref)
        self._rejected.pop(name, None)
        telemetry.SWAPS.labels(name, "taken").inc()
        telemetry.VERSION.labels(name).set(version.ref.version)
        _log.info("%s is served by version %d", name, version.ref.version)
        return True
