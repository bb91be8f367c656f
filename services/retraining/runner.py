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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import sqlalchemy as sa
from dbos import DBOS, DBOSPortableJSONSerializer, EnqueueOptions
from sqlalchemy.exc import SQLAlchemyError

from audit import change_control, policy, records
from audit.canonical import moment
from audit.errors import AuditError
from audit.store import ledger, tables
from models.champion import Champion
from models.errors import ModelsError
from models.registry import Registry
from services import clock, secret, settings
from services.errors import RecordUnavailableError, ServiceError
from services.identifiers import identifier
from services.records import recording
from services.records.stores import StoreReader
from services.retraining import asking, queueing
from services.retraining.endings import Ending
from services.retraining.jobs import launching
from services.retraining.rows import ACTIVE, Request, connect
from services.retraining.steps import ACTOR, Steps
from services.rollouts import trial
from services.rollouts.horizon import Horizon
from services.settings import Settings

LOG = logging.getLogger("rightly.runner")
LOCK: Final = "runner.lock"
QUEUE: Final = "retraining"
WORKFLOW: Final = "retrain"
# Bumped only when a running retraining could not be continued by the new code.
_APPLICATION: Final = "1"
_EXECUTOR: Final = "runner-0"
_SWEEP_SECONDS: Final = 0.3
_STANDBY_SECONDS: Final = 1.0
_WATCHED: Final = 20  # of the latest retrainings
_WATCH_OVER: Final = frozenset({"rolled_back", "watched"})
_STANDING: Final = ("alarm", "acknowledged", "requested")
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
        reader, told = StoreReader(chosen.store), dict[str, Champion]()
        while not stop.wait(_SWEEP_SECONDS):
            try:
                _take_requests(steps, reader)
                _enqueue(steps)
                _tell(steps, told)
                _drive(steps)
                _watch(steps, reader)
            except (SQLAlchemyError, AuditError, ModelsError, RecordUnavailableError, OSError):
                LOG.exception("a look at the records failed and will be tried again")


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
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(settings.load(), stop)
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


def _enqueue(steps: Steps) -> None:
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


def _take_requests(steps: Steps, reader: StoreReader) -> None:
    """Turn open requests of policy and webhook into retrainings, each once."""
    reading = reader()
    if reading is None:
        return
    table = tables.requests
    wanted = sa.select(table).where(table.c.status == "open").order_by(table.c.seq)
    with reading.connected() as connection:
        waiting = connection.execute(wanted).all()
    for row in waiting:
        if steps.rows.active(row.model) is not None or steps.rows.knows(row.request_id):
            continue  # answered by the one under way; or asked for by a person, over REST
        request = Request(row.model, "auto", row.reason, row.actor, row.origin)
        plan = change_control.load(steps.chosen.change_control or change_control.DEFAULT)
        now = clock.now()
        try:
            made = asking.ask(
                steps.rows, steps.registry, plan, request, key=row.request_id, now=now
            )
            status = made.status
            LOG.info("request %s is retraining %s", row.request_id, made.retraining_id)
        except _FORESEEN as error:
            status = "rejected"
            LOG.warning("request %s is refused: %s", row.request_id, error)
        told = {"request_id": row.request_id, "model": row.model, "status": status}
        steps.recorder.note([records.ActionEvent(identifier(now), now, "run", ACTOR, told)])


def _tell(steps: Steps, told: dict[str, Champion]) -> None:
    """Write down what happened to each pointer since the last look: its mover may have died."""
    for model in steps.registry.models():
        pointer = steps.registry.pointer(model)
        if told.get(model) != pointer:
            steps.mover.tell(model, last=2 if model in told else 1)
            told[model] = pointer


def _drive(steps: Steps) -> None:
    """Look after every candidate on trial that no retraining looks after itself."""
    for model in steps.registry.models():
        rollout = steps.registry.pointer(model).rollout
        if rollout is None:
            continue
        if not rollout.owner:
            steps.driver.drive(model, rollout)
            continue
        known = steps.rows.knows(rollout.owner)
        if not known or steps.rows.get(rollout.owner).ended:
            why = "has ended" if known else "is not known here"
            reason = f"its retraining {rollout.owner} {why}"
            trial.withdraw_left(steps.driver, model, rollout.owner, reason)


def _watch(steps: Steps, reader: StoreReader) -> None:
    """Take a new champion back where an alarm rises on it within the plan's watch.

    Only alarms that could ask for a retraining count; the others inform. The watch ends when
    everything is known that happened within it, not when the time is over.
    """
    plan = change_control.load(steps.chosen.change_control or change_control.DEFAULT)
    reading = reader()
    if reading is None or not plan.promotion.rollback_on_alarm:
        return
    now, watch = clock.now(), timedelta(minutes=plan.promotion.watch_minutes)
    steps.horizon.mark(now)
    for each in steps.rows.page(limit=_WATCHED):
        if each.status != "promoted" or _WATCH_OVER & each.facts.keys():
            continue
        end = each.changed_at + watch
        model, version = each.request.model, int(each.facts["candidate"])
        table = tables.alarms
        wanted = sa.select(table.c.alarm_id).where(
            table.c.model == model,
            table.c.version == version,
            table.c.state.in_(_STANDING),
            table.c.measure.in_(policy.Plan().measures),
            table.c.raised_at <= moment(end),
        )
        with reading.connected() as connection:
            known_until = steps.horizon.reach(ledger.places(connection))
            alarm = connection.execute(wanted.limit(1)).scalar()
        if alarm is None or steps.registry.pointer(model).version != version:
            if known_until is not None and known_until >= end:
                seen = {"watched": moment(known_until)}
                steps.rows.move(
                    each.retraining_id, expected=("promoted",), facts=seen, now=each.changed_at
                )
            continue
        reason = f"alarm {alarm} within {plan.promotion.watch_minutes:g} minutes of promotion"
        back = steps.mover.rollback(model, reason=reason, actor=ACTOR, now=now, expected=version)
        steps.rows.move(
            each.retraining_id,
            expected=("promoted",),
            status="rolled_back",
            facts={"rolled_back": alarm},
            now=now,
            said=f"rolled back to version {back.ref.version}: {reason}",
        )


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
    main()
