"""One phase of a retraining's candidate, as a durable step: begin or go on, wait, end.

Killed anywhere and begun again it finds the pointer as it left it and goes on.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from audit.rollout import Judgement
from models.errors import ModelsError, VersionConflictError
from models.rollout import Ended, Phase, Rollout
from services.rollouts.driving import ACTOR, Driver

LOG = logging.getLogger("rightly.rollouts")
LOOK_SECONDS: Final = 0.5


class Tried(NamedTuple):
    """How a phase ended.

    Attributes:
        passed: Whether the candidate may go on.
        answered: Whether it has answered live requests.
        reason: Why.
    """

    passed: bool
    answered: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """The candidate of a retraining.

    Attributes:
        model: The model.
        version: The candidate.
        champion: What it is compared with.
        retraining_id: Its retraining, which names the rollout as well.
        reason: Why, in a sentence.
        approved_by: Who agreed beforehand.
        when_quiet: What to do with too little evidence; "" leaves that to the plan.
        heatmaps_fall: Whether the gate has seen its heatmaps fall, and why that is no reason.
    """

    model: str
    version: int
    champion: int
    retraining_id: str
    reason: str
    approved_by: str
    when_quiet: Literal["", "go_on", "withdraw"] = ""
    heatmaps_fall: bool = False


def run(
    driver: Driver,
    phase: Phase,
    wanted: Wanted,
    *,
    cancelled: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
) -> Tried:
    """Take the candidate through one phase.

    Args:
        driver: Looks and moves.
        phase: Which.
        wanted: The candidate.
        cancelled: Whether somebody asked to end the retraining; whoever ends it withdraws.
        sleep: Between two looks.

    Raises:
        ModelsError: If the registry cannot do it.
        AuditError: If the plan or the store cannot be read.
    """
    driver.mover.tell(wanted.model)  # a process may have died between a step and its record
    while True:
        pointer = driver.mover.registry.pointer(wanted.model)
        ended = _ended(pointer.ended, wanted.retraining_id)
        if ended is not None:
            passed = ended.outcome == "promoted"
            return Tried(passed, ended.rollout.phase == "canary", f"{ended.actor}: {ended.reason}")
        if cancelled():
            return Tried(passed=False, answered=phase == "canary", reason="cancelled")
        rollout = _in_phase(driver, phase, wanted, pointer.rollout)
        judged = driver.look(wanted.model, rollout)
        if judged.step == "withdraw":
            return _withdrawn(driver, wanted, rollout, judged)
        if judged.step == "go_on":
            return Tried(True, phase == "canary", judged.reason)
        sleep(LOOK_SECONDS)


def withdraw_left(driver: Driver, model: str, retraining_id: str, reason: str) -> None:
    """Withdraw the candidate of a retraining that has ended, if it is on trial still."""
    try:
        rollout = driver.mover.registry.pointer(model).rollout
        if rollout is not None and rollout.owner == retraining_id:
            driver.withdraw(model, rollout, reason)
    except VersionConflictError:
        return  # somebody was faster
    except ModelsError:  # a pointer that cannot be read must not keep it from ending
        LOG.exception("the trial of %s cannot be withdrawn", retraining_id)


def _in_phase(driver: Driver, phase: Phase, wanted: Wanted, rollout: Rollout | None) -> Rollout:
    """Return the rollout in this phase, begun or advanced where it is not yet."""
    mover, now = driver.mover, driver.now()
    if rollout is None or rollout.rollout_id != wanted.retraining_id:
        return mover.begin(
            wanted.model,
            wanted.version,
            rollout_id=wanted.retraining_id,
            phase=phase,
            share=driver.plan().canary.share,
            reason=wanted.reason,
            actor=ACTOR,
            now=now,
            owner=wanted.retraining_id,
            approved_by=wanted.approved_by,
            expected=wanted.champion,
            when_quiet=wanted.when_quiet,
            heatmaps_fall=wanted.heatmaps_fall,
        )
    if phase == "canary" and rollout.phase == "shadow":
        return mover.advance(wanted.model, rollout.rollout_id, now=now)
    return rollout


def _withdrawn(driver: Driver, wanted: Wanted, rollout: Rollout, judged: Judgement) -> Tried:
    reason = judged.reason
    try:
        driver.withdraw(wanted.model, rollout, reason)
    except VersionConflictError as error:
        reason = f"{reason}; {error}"
    return Tried(passed=False, answered=rollout.phase == "canary", reason=reason)


def _ended(ended: tuple[Ended, ...], rollout_id: str) -> Ended | None:
    return next((each for each in ended if each.rollout.rollout_id == rollout_id), None)
