"""Takes a candidate from its shadow over its canary to champion, or back, by the plan.

Each look reads the evidence, judges it and says so beside the pointer; each step is one
compare-and-set of the pointer, so that it does not matter who takes it, how often, or where a
process died before.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from audit import rollout as judging
from audit.canonical import moment
from audit.change_control import ChangePlan
from audit.rollout import Evidence, Judgement, Limits
from audit.store import comparisons
from models.errors import VersionConflictError
from models.rollout import Rollout
from services.records.stores import StoreReader
from services.rollouts import looks
from services.rollouts.moves import Mover

LOG = logging.getLogger("rightly.rollouts")
ACTOR = "rollout"


@dataclass(frozen=True, slots=True)
class Driver:
    """Looks at candidates and moves them.

    Attributes:
        mover: Moves pointers and writes it down.
        store: The audit store, where the evidence is.
        plan: Reads the change-control plan; may raise `PlanError`.
        now: The clock.
    """

    mover: Mover
    store: StoreReader
    plan: Callable[[], ChangePlan]
    now: Callable[[], datetime]

    def drive(self, model: str, rollout: Rollout) -> Judgement:
        """Look at a candidate and do what follows.

        Raises:
            PlanError: If the plan cannot be read.
            StoreError: If the store does not answer.
        """
        judged = self.look(model, rollout)
        try:
            if judged.step == "withdraw":
                self.withdraw(model, rollout, judged.reason)
            elif judged.step == "go_on":
                self._go_on(model, rollout, judged)
        except VersionConflictError as error:
            LOG.info("%s: somebody was faster: %s", model, error)
        return judged

    def look(self, model: str, rollout: Rollout) -> Judgement:
        """Judge a candidate by what is known now, and say so beside the pointer; errors as above.

        A plan that is not the one with which the rollout began withdraws it.
        """
        plan, now = self.plan(), self.now()
        limits = plan.shadow.limits if rollout.phase == "shadow" else plan.canary.limits
        evidence = self._evidence(model, rollout, plan)
        if plan.digest != rollout.plan:
            judged = Judgement("withdraw", ("the change-control plan has changed meanwhile",))
        else:
            judged = judging.judge(
                limits,
                evidence,
                seconds=(now - datetime.fromisoformat(rollout.since)).total_seconds(),
                compared=plan.shadow.compared if rollout.phase == "shadow" else None,
            )
        self._show(model, rollout, judged, limits, evidence)
        return judged

    def withdraw(self, model: str, rollout: Rollout, reason: str) -> None:
        """Take a candidate off its trial.

        Raises:
            VersionConflictError: If it is not on trial any more.
        """
        self.mover.withdraw(
            model, reason=reason, actor=ACTOR, now=self.now(), rollout_id=rollout.rollout_id
        )
        LOG.warning("%s: version %d is withdrawn: %s", model, rollout.version, reason)

    def _go_on(self, model: str, rollout: Rollout, judged: Judgement) -> None:
        if rollout.phase == "shadow" and self.plan().canary.requests:
            self.mover.advance(model, rollout.rollout_id, now=self.now())
            return
        self.mover.promote(
            model,
            rollout.version,
            reason=f"{rollout.reason} ({rollout.phase}: {judged.reason})"[:2000],
            actor=rollout.actor,
            now=self.now(),
            expected=rollout.champion,
            approved_by=rollout.approved_by,
            rollout_id=rollout.rollout_id,
        )

    def _evidence(self, model: str, rollout: Rollout, plan: ChangePlan) -> Evidence:
        reading = self.store()
        if reading is None:
            return Evidence()
        watched = rollout.phase == "canary" and plan.canary.withdraw_on_alarm
        with reading.connected() as connection:
            since = moment(datetime.fromisoformat(rollout.since))
            alarms = (
                comparisons.standing(connection, model, rollout.version, since=since)
                if watched
                else ()
            )
            return comparisons.evidence(
                connection, rollout.rollout_id, rollout.phase, alarms=alarms
            )

    def _show(
        self,
        model: str,
        rollout: Rollout,
        judged: Judgement,
        limits: Limits,
        evidence: Evidence,
    ) -> None:
        folder = self.mover.registry.root / model
        try:
            looks.write(folder, rollout.rollout_id, judged, limits, evidence, now=self.now())
        except OSError as error:  # a full disk must not keep a bad candidate answering
            LOG.warning("the look at %s cannot be shown: %s", model, error)
