"""The champions of all models as one worker serves them, and the candidates on trial beside them.

A worker looks at the pointers every `poll_seconds`. Where one has moved, it opens, checks and
warms the new version beside the old one, and then replaces one reference. A version that cannot
be served is rejected: the old one goes on, the reason is logged once, and the version is tried
again after a while, or when the pointer moves again. What answered before stays loaded, so that a
rollback needs no loading, nor does a candidate that becomes champion.

Nothing that a version or a file does ends the following, or touches another model. Where a pointer
cannot be read, its champion goes on and its candidate, whose trial may be over, answers nobody.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from models.champion import Champion
from models.errors import ModelsError, RegistryError, UnknownModelError
from models.registry import Registry, Version
from models.rollout import Rollout
from models.runtime import Served, Session, Slot
from models.types import ModelRef
from services import telemetry
from services.errors import NotReadyError
from services.isolation import Isolation
from services.rollouts.candidates import Candidate
from services.settings import Settings

_log = logging.getLogger(__name__)
# What could not be opened may have lacked memory or files, and not be bad.
RETRY_AFTER: Final = timedelta(seconds=60)


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


class NotServableError(RegistryError):
    """A champion cannot be served; the message says why, and what answers instead."""


class Champions:
    """Model name → what answers now. Reading is safe from any thread and never waits."""

    def __init__(
        self,
        registry: Registry,
        open_session: Callable[[Path], Session],
        clock: Callable[[], datetime],
        unusable: Callable[[str, Rollout, Exception], None] = lambda *_: None,
        try_out: Callable[[Version], None] = lambda _: None,
    ) -> None:
        """Load nothing yet.

        Args:
            registry: Models and versions.
            open_session: Loads the version in a folder, or raises a `ModelsError`.
            clock: The present.
            unusable: Told of a candidate that cannot be loaded.
            try_out: Raises a `ModelsError` for a version that this process must not open.
        """
        self._try_out = try_out
        self._registry, self._open, self._clock = registry, open_session, clock
        self._unusable = unusable
        self._candidates: dict[str, Candidate] = {}
        self._before: dict[str, Served] = {}
        self._given_up: dict[str, str] = {}
        self._slots: dict[str, Slot] = {}
        self._since: dict[str, datetime] = {}
        self._rejected: dict[str, tuple[ModelRef, str, datetime]] = {}
        self._refreshing = threading.Lock()
        self._alone = Isolation(_log, (ModelsError,))
        self._followed: datetime | None = None

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

    def default(self, chosen: Settings) -> str:
        """Return the model that answers where a request names none."""
        return chosen.default_among(self._slots)

    def refresh(self) -> int:
        """Look at every pointer and take what has moved into service; return how many did."""
        with self._refreshing:
            names = self._registry.models()
            taken = sum([self._follow_one(name) for name in names])
            self._followed = self._clock()
            telemetry.FOLLOWED.set(self._followed.timestamp())
            return taken

    @property
    def followed(self) -> datetime | None:
        """When every pointer was last looked at; None for never."""
        return self._followed

    @property
    def failing(self) -> Mapping[str, str]:
        """What cannot be followed or served as it should be → why."""
        return self._alone.failing

    async def follow(self, seconds: float) -> None:
        """Refresh for ever, every so many seconds."""
        while True:
            await asyncio.sleep(seconds)
            # A full table of open files, for example, must not end the following.
            await asyncio.to_thread(self._alone.run, "following the registry", self.refresh)

    def _follow_one(self, name: str) -> bool:
        found: list[Champion] = []
        taken: list[bool] = []
        read = f"reading the pointer of {name}"
        if not self._alone.run(read, lambda: found.append(self._registry.pointer(name))):
            self._set_aside(name)  # whether its trial is over cannot be told
            return False
        (pointer,) = found
        champion, candidate = f"serving the champion of {name}", f"trying the candidate of {name}"
        self._alone.run(champion, lambda: taken.append(self._follow_champion(name, pointer)))
        self._alone.run(candidate, lambda: self._follow_candidate(name, pointer.rollout))
        return any(taken)

    def _follow_champion(self, name: str, pointer: Champion) -> bool:
        """Serve what the pointer names, or say why not; return whether it was taken now."""
        if pointer.version is None or pointer.digest is None:
            return False
        wanted, slot = ModelRef(name, pointer.version, pointer.digest), self._slots.get(name)
        if slot is not None and slot.current.ref == wanted:
            self._rejected.pop(name, None)
            return False
        ref, reason, until = self._rejected.get(name, (None, "", self._clock()))
        if ref == wanted and self._clock() < until:
            raise NotServableError(reason)
        try:
            self._take(name, self._loaded(name, self._registry.champion(name)))
        except Exception as error:
            telemetry.SWAPS.labels(name, "rejected").inc()
            instead = self._instead(name, pointer)
            said = f"version {wanted.version} of {name} rejected: {error}"
            reason = f"{said}; {f'version {instead}' if instead else 'nothing'} answers"
            self._rejected[name] = (wanted, reason, self._clock() + RETRY_AFTER)
            raise NotServableError(reason) from error
        return True

    def _instead(self, name: str, pointer: Champion) -> int | None:
        """Return what answers in place of a champion that cannot be served; None for nothing.

        At a start that is the last one before it that can be served.
        """
        slot = self._slots.get(name)
        if slot is not None:
            return slot.current.ref.version
        for number in dict.fromkeys(each.version for each in reversed(pointer.history)):
            if number == pointer.version:
                continue
            served: list[Served] = []
            job = f"opening version {number} of {name} instead"
            opened = self._alone.run(job, self._open_one, name, number, served)
            self._alone.forget(job)
            if opened:
                self._take(name, served[0])
                return number
        return None

    def _open_one(self, name: str, number: int, into: list[Served]) -> None:
        into.append(self._loaded(name, self._registry.version(name, number)))

    def _take(self, name: str, served: Served) -> None:
        slot = self._slots.get(name)
        self._since[name] = self._clock()
        if slot is None:
            self._slots[name] = Slot(served.session, served.ref)
        else:
            self._before[name] = slot.swap(served.session, served.ref)
        self._rejected.pop(name, None)
        telemetry.SWAPS.labels(name, "taken").inc()
        telemetry.VERSION.labels(name).set(served.ref.version)
        _log.info("%s is served by version %d", name, served.ref.version)

    def _follow_candidate(self, name: str, rollout: Rollout | None) -> None:
        known = self._candidates.get(name)
        if rollout is None:
            self._set_aside(name)
            return
        if known is not None and known.rollout == rollout:
            return
        if self._given_up.get(name) == rollout.rollout_id:
            return
        try:
            version = self._registry.version(name, rollout.version)
            served = self._loaded(name, version)
        except Exception as error:  # noqa: BLE001 - a candidate may fail in any way it likes
            self._given_up[name] = rollout.rollout_id
            self._candidates.pop(name, None)
            _log.error("candidate %d of %s cannot be tried: %s", rollout.version, name, error)
            self._unusable(name, rollout, error)
            return
        self._candidates[name] = Candidate(rollout, served)
        telemetry.on_trial(name, rollout.version, rollout.phase, rollout.share)
        _log.info("%s: version %d is on trial as %s", name, rollout.version, rollout.phase)

    def _set_aside(self, name: str) -> None:
        """Let a candidate answer nobody any more."""
        if self._candidates.pop(name, None) is not None:
            telemetry.on_trial(name, 0, "", 0.0)

    def _loaded(self, name: str, version: Version) -> Served:
        """Return a version, opened and checked unless it is in memory already."""
        candidate, before = self._candidates.get(name), self._before.get(name)
        if candidate is not None and candidate.served.ref == version.ref:
            return candidate.served
        if before is not None and before.ref == version.ref:
            return before
        self._registry.verify(version)
        self._try_out(version)
        return Served(self._open(version.folder), version.ref)
