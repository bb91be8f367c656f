"""Moves the champion pointer and its rollout, and writes down who did what.

Every way in uses this: REST, the command line and the runner. What is written down follows from
the pointer's file alone, ids and moments included, so it may be written again after a crash and
is still there once.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from audit import canonical, records
from audit.errors import AuditError, JournalUnavailableError
from models import rollouts
from models.champion import Champion, Move
from models.errors import VersionConflictError
from models.registry import Registry, Version
from models.rollout import Ended, Phase, Rollout
from services.records.recording import Recorder
from services.versions import tried

LOG = logging.getLogger("rightly.moves")
_ID_LENGTH = 26


@dataclass(frozen=True, slots=True)
class Mover:
    """Moves the pointers of a registry.

    Attributes:
        registry: Where they are.
        recorder: Where what was done is written down.
        plan: Returns the digest of the change-control plan in force; may raise `PlanError`.
        try_out: Raises `GraphRejectedError` for a version that cannot be served, before the
            pointer moves to it. Going back asks nothing: what answered before can be served.
    """

    registry: Registry
    recorder: Recorder
    plan: Callable[[], str]
    try_out: Callable[[Version], None] = tried.ensure

    def promote(
        self,
        model: str,
        version: int,
        *,
        reason: str,
        actor: str,
        now: datetime,
        expected: int | None = None,
        approved_by: str = "",
        rollout_id: str | None = None,
    ) -> Version:
        """Let a version answer from now on; arguments and errors as in `Registry.promote`.

        Raises:
            PlanError: If the plan cannot be read, whose digest is kept with the promotion.
            GraphRejectedError: If the version cannot be served, with the reason.
        """
        self.try_out(self.registry.version(model, version))
        chosen = self.registry.promote(
            model,
            version,
            reason=reason,
            actor=actor,
            now=now,
            expected=expected,
            plan=self.plan(),
            approved_by=approved_by,
            rollout_id=rollout_id,
        )
        self.tell(model)
        return chosen

    def rollback(
        self, model: str, *, reason: str, actor: str, now: datetime, expected: int | None = None
    ) -> Version:
        """Undo the last promotion; arguments and errors as in `Registry.rollback`.

        A plan that cannot be read does not stop it.
        """
        back = self.registry.rollback(
            model, reason=reason, actor=actor, now=now, expected=expected, plan=self._plan_now()
        )
        self.tell(model)
        return back

    def begin(
        self,
        model: str,
        version: int,
        *,
        rollout_id: str,
        phase: Phase,
        share: float,
        reason: str,
        actor: str,
        now: datetime,
        owner: str = "",
        approved_by: str = "",
        expected: int | None = None,
        when_quiet: Literal["", "go_on", "withdraw"] = "",
        heatmaps_fall: bool = False,
    ) -> Rollout:
        """Put a version on trial; arguments and errors as in `rollouts.begin`.

        Raises:
            PlanError: If the plan cannot be read, whose digest is kept with the rollout.
            VersionConflictError: If nothing is written down, so that it could never be judged.
            GraphRejectedError: If the version cannot be served, with the reason.
        """
        if self.recorder.journal is None:
            raise VersionConflictError(
                "nothing is written down here (recording = off), so a trial can never be judged; "
                "record answers, or leave the trials out of the change-control plan"
            )
        self.try_out(self.registry.version(model, version))
        begun = rollouts.begin(
            self.registry,
            model,
            version,
            rollout_id=rollout_id,
            phase=phase,
            share=share,
            reason=reason,
            actor=actor,
            now=now,
            owner=owner,
            plan=self.plan(),
            approved_by=approved_by,
            expected=expected,
            when_quiet=when_quiet,
            heatmaps_fall=heatmaps_fall,
        )
        self.tell(model)
        return begun

    def advance(self, model: str, rollout_id: str, *, now: datetime) -> Rollout:
        """Let the candidate answer its share; errors as in `rollouts.advance`."""
        canary = rollouts.advance(self.registry, model, rollout_id, now=now)
        self.tell(model)
        return canary

    def withdraw(
        self,
        model: str,
        *,
        reason: str,
        actor: str,
        now: datetime,
        rollout_id: str | None = None,
    ) -> Rollout:
        """Take the candidate off its trial; arguments and errors as in `rollouts.withdraw`."""
        gone = rollouts.withdraw(
            self.registry, model, reason=reason, actor=actor, now=now, rollout_id=rollout_id
        )
        self.tell(model)
        return gone

    def tell(self, model: str, last: int = 2) -> None:
        """Write down the last things that happened to a model's pointer; twice is once.

        A journal that cannot be written must not stop a rollback: the pointer's own history has
        all of it, and the next start of the runner writes it down.

        Args:
            model: The model.
            last: How many moves and ended rollouts.
        """
        told = [*events(model, self.registry.pointer(model), last)]
        try:
            self.recorder.note(told)
        except JournalUnavailableError:
            LOG.exception("what happened to %s is not in the audit trail yet", model)

    def _plan_now(self) -> str:
        try:
            return self.plan()
        except AuditError as error:
            LOG.warning("the change-control plan cannot be read: %s", error)
            return ""


def events(model: str, pointer: Champion, last: int) -> Sequence[records.ActionEvent]:
    """Return what a pointer's file says was done, oldest first.

    Args:
        model: The model.
        pointer: Its pointer.
        last: How many moves and ended rollouts at most; the one under way is always there.
    """
    told = [_moved(model, move) for move in pointer.history[-last:]]
    for end in pointer.ended[-last:]:
        told += _begun(model, end.rollout)
        if end.outcome == "withdrawn":
            told.append(_withdrawn(model, end))
    if pointer.rollout is not None:
        told += _begun(model, pointer.rollout)
    return sorted(told, key=lambda event: event.event_time)


def _moved(model: str, move: Move) -> records.ActionEvent:
    details = {
        "version": str(move.version),
        "digest": move.digest,
        "previous": "" if move.previous is None else str(move.previous),
        "reason": move.reason,
        "plan": move.plan,
        "approved_by": move.approved_by,
    }
    action: Literal["promotion", "rollback"] = (
        "promotion" if move.action == "promote" else "rollback"
    )
    return _event(model, action, actor=move.actor, at=move.at, details=details, seed=asdict(move))


def _begun(model: str, rollout: Rollout) -> list[records.ActionEvent]:
    """Return that it began, and where it was a shadow first, that it became a canary."""
    first: Phase = rollout.phase if rollout.since == rollout.started_at else "shadow"
    phases = [(first, rollout.started_at)]
    if first != rollout.phase:
        phases.append((rollout.phase, rollout.since))
    return [
        _event(
            model,
            phase,
            actor=rollout.actor,
            at=at,
            details=_about(rollout),
            seed=[rollout.rollout_id, phase],
        )
        for phase, at in phases
    ]


def _withdrawn(model: str, end: Ended) -> records.ActionEvent:
    details = {**_about(end.rollout), "reason": end.reason, "phase": end.rollout.phase}
    seed = [end.rollout.rollout_id, "withdrawn"]
    return _event(model, "withdrawal", actor=end.actor, at=end.at, details=details, seed=seed)


def _about(rollout: Rollout) -> dict[str, str]:
    return {
        "rollout_id": rollout.rollout_id,
        "version": str(rollout.version),
        "digest": rollout.digest,
        "champion": str(rollout.champion),
        "share": f"{rollout.share:g}",
        "reason": rollout.reason,
        "plan": rollout.plan,
        "owner": rollout.owner,
        "approved_by": rollout.approved_by,
        **({"when_quiet": rollout.when_quiet} if rollout.when_quiet else {}),
        **({"heatmaps_fall": "shown only"} if rollout.heatmaps_fall else {}),
    }


def _event(
    model: str,
    action: Literal["promotion", "rollback", "shadow", "canary", "withdrawal"],
    *,
    actor: str,
    at: str,
    details: dict[str, str],
    seed: Any,  # noqa: ANN401 - any JSON
) -> records.ActionEvent:
    """Return an event whose id follows from what it is about."""
    digest = hashlib.sha256(canonical.text([model, action, at, seed])).hexdigest()
    return records.ActionEvent(
        digest[:_ID_LENGTH], datetime.fromisoformat(at), action, actor, {"model": model, **details}
    )
