"""Takes a candidate from its shadow over its canary to champion, or back, by the plan.

Each look reads the evidence, judges it and says so beside the pointer; each step is one
compare-and-set of the pointer, so that it does not matter who takes it, how often, or where a
process died before.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from audit import rollout as judging
from audit.canonical import moment
from audit.change_control import ChangePlan
from audit.errors import StoreError
from audit.rollout import Evidence, Judgement, Limits
from audit.store import comparisons, ledger
from models.errors import VersionConflictError
from models.rollout import Rollout
from services.records.stores import StoreReader
from services.rollouts import looks
from services.rollouts.horizon import Horizon
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
        horizon: Until when the evidence is complete; one for all looks of the process.
    """

    mover: Mover
    store: StoreReader
    plan: Callable[[], ChangePlan]
    now: Callable[[], datetime]
    horizon: Horizon

    def drive(self, model: str, rollout: Rollout) -> Judgement:
        """Look at a candidate and do what follows.

        Raises:
            PlanError: If the plan cannot be read.
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

        A plan that is not the one with which the rollout began withdraws it, and so does a store
        that cannot be asked for longer than the plan says.
        """
        plan, now = self.plan(), self.now()
        limits = plan.shadow.limits if rollout.phase == "shadow" else plan.canary.limits
        if rollout.when_quiet:
            limits = replace(limits, when_quiet=rollout.when_quiet)
        compared = plan.shadow.compared if rollout.phase == "shadow" else None
        if compared is not None and rollout.heatmaps_fall:
            compared = replace(compared, recall_fall=1.0)
        evidence = self._evidence(model, rollout, plan)
        if plan.digest != rollout.plan:
            judged = Judgement("withdraw", ("the change-control plan has changed meanwhile",))
        else:
            judged = judging.judge(
                limits,
                evidence,
                since=datetime.fromisoformat(rollout.since),
                began=self.horizon.began,
                now=now,
                compared=compared,
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
        if self.mover.recorder.journal is None:
            return Evidence(unknown="nothing is written down here (recording = off)")
        self.horizon.mark(self.now())  # before the store is asked: it may only know more
        try:
            return self._known(model, rollout, plan)
        except StoreError as error:
            LOG.warning("%s: nothing is known about the candidate: %s", model, error)
            return Evidence(known_until=self.horizon.until, unknown=str(error))

    def _known(self, model: str, rollout: Rollout, plan: ChangePlan) -> Evidence:
        watched = rollout.phase == "canary" and plan.canary.withdraw_on_alarm
        with self.store.require().connected() as connection:
            known_until = self.horizon.reach(ledger.places(connection))
            since = moment(datetime.fromisoformat(rollout.since))
            alarms = (
                comparisons.standing(connection, model, rollout.version, since=since)
                if watched
                else ()
            )
            found = comparisons.evidence(
                connection, rollout.rollout_id, rollout.phase, alarms=alarms
            )
        return replace(
            found,
            known_until=known_until,
            unknown="the auditor has not ingested what is written since",
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
