"""The runner's round: it takes requests up, looks after trials and takes champions back.

Each job is for itself, and each model too: a pointer that cannot be read stops that model only.
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from audit import change_control, policy, records
from audit.canonical import moment
from audit.change_control import ChangePlan
from audit.errors import AuditError
from audit.store import ledger, tables
from audit.store.queries import Reading
from models.champion import Champion
from models.errors import ModelsError
from services import clock
from services.errors import ServiceError
from services.identifiers import identifier
from services.isolation import Isolation
from services.records.stores import StoreReader
from services.retraining import asking
from services.retraining.rows import Request, Retraining
from services.retraining.steps import ACTOR, Steps
from services.rollouts import trial

LOG = logging.getLogger("rightly.runner")
_WATCHED: Final = 20  # of the latest retrainings
_WATCH_OVER: Final = frozenset({"rolled_back", "watched"})
_STANDING: Final = ("alarm", "acknowledged", "requested")
_FORESEEN = (ModelsError, AuditError, ServiceError)


@dataclass(slots=True)
class Rounds:
    """The runner's work between the steps of retrainings.

    Attributes:
        steps: What a retraining needs.
        reader: The audit store.
        alone: Runs each job for itself.
        told: Model → its pointer when what happened to it was last written down.
    """

    steps: Steps
    reader: StoreReader
    alone: Isolation = field(default_factory=lambda: Isolation(LOG, _FORESEEN))
    told: dict[str, Champion] = field(default_factory=dict)

    def turn(self) -> None:
        """Do everything once."""
        self.alone.run("taking requests up", self.take_requests)
        self.look_after()
        self.alone.run("watching new champions", self.watch)

    def look_after(self) -> None:
        """Look after every model's pointer and trial, each for itself."""
        models: list[str] = []
        self.alone.run("listing the models", lambda: models.extend(self.steps.registry.models()))
        for model in models:
            self.alone.run(f"writing down what happened to {model}", self.tell, model)
            self.alone.run(f"looking after the trial of {model}", self.drive, model)

    def take_requests(self) -> None:
        """Turn open requests of policy and webhook into retrainings, each once."""
        reading = self.reader()
        if reading is None:
            return
        table = tables.requests
        wanted = sa.select(table).where(table.c.status == "open").order_by(table.c.seq)
        with reading.connected() as connection:
            waiting = connection.execute(wanted).all()
        for row in waiting:
            self.alone.run(f"request {row.request_id}", self._take, row)

    def tell(self, model: str) -> None:
        """Write down what happened to a pointer since the last look: its mover may have died."""
        pointer = self.steps.registry.pointer(model)
        if self.told.get(model) != pointer:
            self.steps.mover.tell(model, last=2 if model in self.told else 1)
            self.told[model] = pointer

    def drive(self, model: str) -> None:
        """Look after a candidate on trial, unless its retraining does so itself."""
        steps = self.steps
        rollout = steps.registry.pointer(model).rollout
        if rollout is None:
            return
        if not rollout.owner:
            steps.driver.drive(model, rollout)
            return
        known = steps.rows.knows(rollout.owner)
        if not known or steps.rows.get(rollout.owner).ended:
            why = "has ended" if known else "is not known here"
            reason = f"its retraining {rollout.owner} {why}"
            trial.withdraw_left(steps.driver, model, rollout.owner, reason)

    def watch(self) -> None:
        """Take new champions back where an alarm rises on them within the plan's watch.

        Only alarms that could ask for a retraining count; the others inform. The watch ends when
        everything is known that happened within it, not when the time is over.
        """
        plan, reading = self._plan(), self.reader()
        if reading is None or not plan.promotion.rollback_on_alarm:
            return
        watch = timedelta(minutes=plan.promotion.watch_minutes)
        self.steps.horizon.mark(clock.now())
        for each in self.steps.rows.page(limit=_WATCHED):
            if each.status == "promoted" and not _WATCH_OVER & each.facts.keys():
                end = each.changed_at + watch
                name = f"watching the champion of {each.retraining_id}"
                self.alone.run(name, self._watch_one, reading, each, end)

    def _take(self, row: sa.Row[tuple[object, ...]]) -> None:
        steps = self.steps
        if steps.rows.active(row.model) is not None or steps.rows.knows(row.request_id):
            return  # answered by the one under way; or asked for by a person, over REST
        request = Request(row.model, "auto", row.reason, row.actor, row.origin)
        now = clock.now()
        try:
            made = asking.ask(
                steps.rows, steps.registry, self._plan(), request, key=row.request_id, now=now
            )
            status: str = made.status
            LOG.info("request %s is retraining %s", row.request_id, made.retraining_id)
        except _FORESEEN as error:
            status = "rejected"
            LOG.warning("request %s is refused: %s", row.request_id, error)
        told = {"request_id": row.request_id, "model": row.model, "status": status}
        steps.recorder.note([records.ActionEvent(identifier(now), now, "run", ACTOR, told)])

    def _watch_one(self, reading: Reading, each: Retraining, end: datetime) -> None:
        steps, model, version = self.steps, each.request.model, int(each.facts["candidate"])
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
            return
        minutes = self._plan().promotion.watch_minutes
        reason, now = f"alarm {alarm} within {minutes:g} minutes of promotion", clock.now()
        back = steps.mover.rollback(model, reason=reason, actor=ACTOR, now=now, expected=version)
        steps.rows.move(
            each.retraining_id,
            expected=("promoted",),
            status="rolled_back",
            facts={"rolled_back": alarm},
            now=now,
            said=f"rolled back to version {back.ref.version}: {reason}",
        )

    def _plan(self) -> ChangePlan:
        return change_control.load(self.steps.chosen.change_control or change_control.DEFAULT)
