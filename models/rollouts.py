"""Begins, advances and withdraws rollouts in a registry; each is one replaced file.

What a rollout is, stands in `models.rollout`; its candidate becomes champion by
`Registry.promote`, which ends it in the same step.
"""

from datetime import datetime
from typing import Literal

from models import champion
from models.errors import VersionConflictError
from models.registry import Registry
from models.rollout import Phase, Rollout


def begin(
    registry: Registry,
    name: str,
    version: int,
    *,
    rollout_id: str,
    phase: Phase,
    share: float,
    reason: str,
    actor: str,
    now: datetime,
    owner: str = "",
    plan: str = "",
    approved_by: str = "",
    expected: int | None = None,
    when_quiet: Literal["", "go_on", "withdraw"] = "",
    heatmaps_fall: bool = False,
) -> Rollout:
    """Put a version on trial beside the champion, after its files have been checked.

    Args:
        registry: Where the model is.
        name: The model.
        version: The candidate's number.
        rollout_id: Beginning twice with the same name begins once.
        phase: What to begin with.
        share: Of the requests that the canary answers, in (0, 1].
        reason: Why, in a sentence.
        actor: Who or what decided.
        now: When, with a time zone.
        owner: The retraining that drives it; "" for a person's own.
        plan: Digest of the change-control plan in force.
        approved_by: Who agreed beforehand.
        expected: The champion that the caller saw; None asks for no check.
        when_quiet: What to do with too little evidence; "" leaves that to the plan.
        heatmaps_fall: Whether a fall of its activation recall is known and no reason to stop.

    Raises:
        UnknownModelError: If there is no such version, or no champion.
        CorruptVersionError: If its files are not what the card says.
        VersionConflictError: If another rollout is under way, the version answers already, its
            classes are not the champion's, or the champion is not the expected one.
        ValueError: If `share` is outside its range.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"a canary answers a share in (0, 1], not {share}")
    chosen, answering = registry.version(name, version), registry.champion(name)
    registry.verify(chosen)
    if chosen.card.spec.classes != answering.card.spec.classes:
        raise VersionConflictError(
            f"version {version} has other classes than champion {answering.ref.version}; "
            "it cannot share its requests"
        )

    def change(pointer: champion.Champion) -> champion.Champion:
        return pointer.begin(
            Rollout(
                rollout_id=rollout_id,
                version=version,
                digest=chosen.ref.digest,
                champion=champion.require(pointer, name),
                phase=phase,
                share=share,
                plan=plan,
                owner=owner,
                reason=reason,
                actor=actor,
                approved_by=approved_by,
                started_at=now.isoformat(),
                since=now.isoformat(),
                when_quiet=when_quiet,
                heatmaps_fall=heatmaps_fall,
            )
        )

    return _under_way(registry.move(name, change, expected))


def advance(registry: Registry, name: str, rollout_id: str | None, *, now: datetime) -> Rollout:
    """Let the candidate answer its share; nothing changes where it does already.

    Raises:
        UnknownModelError: If there is no such model.
        VersionConflictError: If that rollout is not under way.
    """
    return _under_way(
        registry.move(name, lambda pointer: pointer.advance(rollout_id, name, now=now))
    )


def withdraw(
    registry: Registry,
    name: str,
    *,
    reason: str,
    actor: str,
    now: datetime,
    rollout_id: str | None = None,
) -> Rollout:
    """Take a candidate off its trial; the champion answers everything again.

    Args:
        registry: Where the model is.
        name: The model.
        reason: Why, in a sentence.
        actor: Who or what decided.
        now: When, with a time zone.
        rollout_id: The one that is meant; None for whichever is under way.

    Returns:
        The rollout as it stood.

    Raises:
        UnknownModelError: If there is no such model.
        VersionConflictError: If that rollout is not under way.
    """
    after = registry.move(
        name,
        lambda pointer: pointer.withdraw(rollout_id, name, reason=reason, actor=actor, now=now),
    )
    return after.ended[-1].rollout


def _under_way(pointer: champion.Champion) -> Rollout:
    if pointer.rollout is None:
        raise VersionConflictError("the rollout has ended meanwhile")
    return pointer.rollout
