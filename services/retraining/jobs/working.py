"""Runs training and export to their end, over as many attempts as it takes."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from models.registry import Registry
from services import settings
from services.retraining import files
from services.retraining.endings import Ending
from services.retraining.files import Folder
from services.retraining.jobs import progress, room
from services.retraining.jobs.launchers import JobSpec, Key, Launcher, State, UnreachableError
from services.retraining.jobs.stalling import Stall
from services.retraining.rows import ACTIVE, Retraining, Rows
from services.settings import Settings

ATTEMPTS = 3  # of a job whose processes are lost
_LOOK_SECONDS = 0.2
_SILENT_SECONDS = 60.0  # for which an attempt that shall end is waited for
Verb = Literal["train", "export"]


class _Followed(NamedTuple):
    state: State
    stalled: bool


@dataclass(frozen=True, slots=True)
class Work:
    """Follows the processes of a retraining; each call may be killed and begun again.

    Attributes:
        chosen: The settings.
        rows: The record.
        registry: Where the champion is.
        launcher: Where processes run.
        now: The clock.
    """

    chosen: Settings
    rows: Rows
    registry: Registry
    launcher: Launcher
    now: Callable[[], datetime]

    def run(self, retraining_id: str, verb: Verb) -> Ending | None:
        """Follow a job to its end; a lost or stalled one is followed by the next attempt."""
        counter = f"{verb}_attempt"
        while True:
            found = self.rows.get(retraining_id)
            number = int(found.facts.get(counter, 1))
            key = Key(retraining_id if verb == "train" else f"{retraining_id}/{verb}", number)
            if (missing := self._shortage(found, verb, key)) != "":
                return Ending("failed", f"not enough room to train: {missing}")
            self._set_attempt(retraining_id, verb, counter, number)
            training = number if verb == "train" else self.rows.get(retraining_id).attempt
            followed = self._follow(retraining_id, verb, training, key)
            if (by := self.rows.get(retraining_id).cancelled_by) is not None:
                return Ending("cancelled", f"cancelled by {by}")
            if followed.state is State.SUCCEEDED:
                return None
            said = f"{verb}, attempt {number}: {self._told(key, followed)}"
            if not self._goes_on(followed, number):
                return Ending("failed", f"{said}; see the logs")
            self.launcher.cancel(key)  # should its shim only be late
            self._set_attempt(retraining_id, verb, counter, number + 1, said)

    def _follow(self, retraining_id: str, verb: Verb, training: int, key: Key) -> _Followed:
        spec = self._spec(retraining_id, verb, training)
        limit = self.chosen.stall_seconds if verb == "train" else 0.0
        folder = self.launcher.folder(key)
        watch = Stall([folder / each for each in progress.WATCHED], limit)
        submitted, stalled, asked_at = False, False, 0.0
        while True:
            submitted = submitted or self._submit(key, spec)
            state = self.launcher.status(key).state if submitted else State.UNREACHABLE
            if state.ended:
                return _Followed(state, stalled)
            if state is State.UNKNOWN:
                return _Followed(State.LOST, stalled)  # it was submitted, so its folder is gone
            if not asked_at:
                stalled = watch.has_stalled(waiting=state is State.PENDING)
                if stalled or self.rows.get(retraining_id).cancelled_by is not None:
                    self.launcher.cancel(key)
                    asked_at = time.monotonic()
            elif time.monotonic() - asked_at > _SILENT_SECONDS:
                return _Followed(State.LOST, stalled)  # nobody says whether it has ended
            time.sleep(_LOOK_SECONDS)

    def _submit(self, key: Key, spec: JobSpec) -> bool:
        try:
            self.launcher.submit(key, spec)
        except UnreachableError:
            return False
        return True

    def _goes_on(self, followed: _Followed, number: int) -> bool:
        if followed.stalled:
            return number <= self.chosen.stall_retries
        return followed.state is State.LOST and number < ATTEMPTS

    def _told(self, key: Key, followed: _Followed) -> str:
        if followed.stalled:
            return f"no progress for {self.chosen.stall_seconds:g} s (setting stall_seconds)"
        if followed.state is State.TIMEOUT:
            limit = f"{self.chosen.training_seconds:g} s (setting training_seconds)"
            return f"{State.TIMEOUT}, it took longer than {limit}"
        status = self.launcher.status(key)
        return f"{followed.state} {status.reason}".strip() + f", exit code {status.code}"

    def _shortage(self, found: Retraining, verb: Verb, key: Key) -> str:
        """Say what is missing for an attempt that has not begun; "" for nothing."""
        if verb != "train" or self.launcher.folder(key).is_dir():
            return ""
        champion = self.registry.version(found.request.model, int(found.facts["champion"]))
        here = Folder(self.chosen.retrainings / found.retraining_id)
        wanted, there = room.needed(here, champion.folder / files.WEIGHTS), room.free(here.path)
        if self.chosen.launcher != "local":
            there = room.Room(there.disk, None)
        return room.shortage(wanted, there, self.chosen.spare_bytes)

    def _set_attempt(
        self, retraining_id: str, verb: Verb, counter: str, number: int, said: str = ""
    ) -> None:
        self.rows.move(
            retraining_id,
            expected=ACTIVE,
            attempt=number if verb == "train" else None,
            facts={counter: number},
            now=self.now(),
            said=said,
        )

    def _spec(self, retraining_id: str, verb: Verb, attempt: int) -> JobSpec:
        folder = str((self.chosen.retrainings / retraining_id).absolute())
        module = "services.retraining.jobs.child"
        return JobSpec(
            command=[sys.executable, "-m", module, verb, folder, str(attempt)],
            folder=str(Path(settings.__file__).parent.parent),
            environment=settings.training_environment(),
            limit_seconds=self.chosen.training_seconds,
        )
