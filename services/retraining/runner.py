"""The runner: one process that drives every retraining, step by durable step.

DBOS remembers which steps are done, so a runner that was killed goes on where it stood; our own
rows stay the record. It is crash-only: asked to end, it ends at once, and training goes on without
it until the next runner takes it up again.
"""

import fcntl
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from dbos import DBOS, DBOSPortableJSONSerializer, EnqueueOptions, WorkflowStatus

from audit import change_control
from audit.errors import AuditError
from models.errors import ModelsError
from models.registry import Registry
from services import boundary, clock, logs, secret, settings
from services.errors import RecordUnavailableError, ServiceError
from services.identifiers import identifier
from services.isolation import Isolation
from services.records import recording
from services.records.presence import Showing
from services.records.stores import StoreReader
from services.retraining import queueing
from services.retraining.endings import Ending
from services.retraining.jobs import launching
from services.retraining.rounds import Rounds
from services.retraining.rows import ACTIVE, Retraining, connect
from services.retraining.steps import Steps
from services.rollouts.horizon import Horizon
from services.settings import Settings

LOG = logging.getLogger("rightly.runner")
LOCK: Final = "runner.lock"
PRESENCE: Final = "runner"
QUEUE: Final = "retraining"
WORKFLOW: Final = "retrain"
# Bumped only when a running retraining could not be continued by the new code.
_APPLICATION: Final = "1"
_EXECUTOR: Final = "runner-0"
_SWEEP_SECONDS: Final = 0.3
_STANDBY_SECONDS: Final = 1.0
_BROKEN: Final = frozenset({"ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"})
_FORESEEN = (ModelsError, AuditError, ServiceError)


def run(chosen: Settings, stop: threading.Event) -> None:
    """Drive retrainings until `stop` is set; stand by while another runner leads."""
    with _leadership(chosen.home / LOCK, stop) as leading:
        if not leading:
            return
        steps = connect_steps(chosen)
        _launch(chosen, steps)
        LOG.info("taking retrainings from %s", chosen.retraining_store)
        rounds = Rounds(steps, StoreReader(chosen.store))
        presence = Showing(chosen.home, PRESENCE)
        while not stop.wait(_SWEEP_SECONDS):
            rounds.turn()
            rounds.alone.run("queueing retrainings", _enqueue, steps, rounds.alone)
            presence.show(rounds.alone.failing, now=clock.now())


def connect_steps(chosen: Settings) -> Steps:
    """Return the steps as the settings describe them.

    Raises:
        PlanError: If the change-control plan cannot be read.
    """
    change_control.load(chosen.change_control or change_control.DEFAULT)
    recorder = recording.open_recorder(
        chosen.journal,
        source=identifier(clock.now()),
        key=secret.secret_key(chosen.home / "image.key"),
        mode=chosen.recording,
        durability=chosen.durability,
    )
    return Steps(
        chosen=chosen,
        rows=connect(chosen.retraining_store),
        registry=Registry(chosen.registry),
        launcher=launching.of(chosen),
        recorder=recorder,
        store=StoreReader(chosen.store),
        now=clock.now,
        horizon=Horizon(chosen.journal, clock.now()),
    )


def main() -> None:
    """Drive retrainings until the process is asked to end."""
    chosen = settings.load()
    logs.configure(chosen.log)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(chosen, stop)
    leave()


def leave() -> NoReturn:
    """End this process at once: steps under way are begun again by the next runner."""
    logging.shutdown()
    os._exit(0)


def sequence(steps: Steps, retraining_id: str) -> list[str]:
    """Take a retraining through its steps; return its end, status and reason.

    A step that raised what nobody foresaw ends it as failed: a retraining is never left hanging.
    """
    for name in steps.all:
        ended = DBOS.run_step({"name": name}, partial(_guarded, steps, name, retraining_id))
        if ended is not None:
            break
    else:
        ended = ["failed", "the sequence ended without a result"]
    DBOS.run_step({"name": "finish"}, partial(_finish, steps, retraining_id, ended))
    return ended


def _guarded(steps: Steps, name: str, retraining_id: str) -> list[str] | None:
    """Do one step; begin it again where the record could not be reached meanwhile."""
    while True:
        try:
            return _stepped(steps, name, retraining_id)
        except RecordUnavailableError:
            LOG.warning("%s: step %s waits for the record", retraining_id, name)
            time.sleep(_STANDBY_SECONDS)


def _stepped(steps: Steps, name: str, retraining_id: str) -> list[str] | None:
    """Do one step, unless somebody asked to end; return how it ends, as JSON knows it."""
    ended = steps.cancelled(retraining_id)
    if ended is None:
        steps.rows.move(
            retraining_id,
            expected=ACTIVE,
            status=None if name == "approve" else "running",
            step=name,
            now=steps.now(),
            said=f"step {name}",
        )
        try:
            ended = steps.all[name](retraining_id)
        except RecordUnavailableError:
            raise
        except _FORESEEN as error:
            ended = Ending("failed", f"{name}: {error}")
        except Exception as error:  # the outermost loop of a retraining
            LOG.exception("%s: step %s broke", retraining_id, name)
            ended = Ending("failed", f"{name}: {type(error).__name__}; the runner's log has more")
    return None if ended is None else [ended.status, ended.reason]


def _finish(steps: Steps, retraining_id: str, ended: list[str]) -> None:
    status, reason = ended
    while True:
        try:
            steps.finish(retraining_id, Ending(status, reason))  # type: ignore[arg-type]  # one of ours, through JSON
        except RecordUnavailableError:
            time.sleep(_STANDBY_SECONDS)
        else:
            return


def _launch(chosen: Settings, steps: Steps) -> None:
    """Start DBOS in this process; it takes up what an earlier runner left."""
    chosen.home.mkdir(parents=True, exist_ok=True)
    DBOS(
        config={
            "name": "rightly",
            "system_database_url": chosen.workflow_store,
            "application_version": _APPLICATION,
            "executor_id": _EXECUTOR,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
        }
    )

    DBOS.workflow(name=WORKFLOW)(_bound(steps))
    DBOS.launch()
    DBOS.register_queue(QUEUE, partition_concurrency=1, polling_interval_sec=_SWEEP_SECONDS)


def _bound(steps: Steps) -> Callable[[str], list[str]]:
    """Return the sequence with its steps bound, as a function that DBOS can register."""

    def retrain(retraining_id: str) -> list[str]:
        return sequence(steps, retraining_id)

    return retrain


def _enqueue(steps: Steps, alone: Isolation) -> None:
    """Give the rows whose turn it is their workflow; a row whose workflow broke has failed."""
    active = steps.rows.unsettled()
    known_ones = {e.retraining_id: DBOS.get_workflow_status(e.retraining_id) for e in active}
    begun = [each for each in active if known_ones[each.retraining_id] is not None]
    turn = {
        each.retraining_id
        for each in queueing.turn(
            [each for each in active if each not in begun], begun, most=steps.chosen.trainings
        )
    }
    for each in active:
        known = known_ones[each.retraining_id]
        alone.run(f"queueing {each.retraining_id}", _settle, steps, each, known, turn)


def _settle(
    steps: Steps, each: Retraining, known: WorkflowStatus | None, turn: Container[str]
) -> None:
    """Give one row its workflow, or its end."""
    if known is None and each.retraining_id in turn:
        options: EnqueueOptions = {
            "queue_name": QUEUE,
            "workflow_name": WORKFLOW,
            "workflow_id": each.retraining_id,
            "queue_partition_key": each.request.model,
        }
        DBOS.enqueue_workflow_with_options(options, each.retraining_id)
    elif known is not None and known.status in _BROKEN:
        steps.finish(each.retraining_id, Ending("failed", f"the workflow is {known.status}"))


@contextmanager
def _leadership(lock: Path, stop: threading.Event) -> Iterator[bool]:
    """Be the one runner of this installation; two would both run the same step.

    Yields False where `stop` came first.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        while not stop.is_set():
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stop.wait(_STANDBY_SECONDS)
                continue
            yield True
            return
        yield False
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    with boundary.one_line():
        main()
