"""One candidate on its way to champion: first silently beside it, then with a share of requests.

A rollout is part of the champion pointer's file, so that both change in one step: there is no
moment at which the candidate is champion and still on trial, or neither.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from models.errors import VersionConflictError

Phase: TypeAlias = Literal["shadow", "canary"]
Outcome: TypeAlias = Literal["promoted", "withdrawn"]
# Ended rollouts that are kept; the audit trail has them all.
MOST_ENDED: Final = 20


@dataclass(frozen=True, slots=True)
class Rollout:
    """A candidate on trial with live requests.

    Attributes:
        rollout_id: Its name, unique among all rollouts.
        version: The candidate.
        digest: Its content.
        champion: The version that it is compared with and that answers the rest.
        phase: "shadow" answers nobody; "canary" answers a share.
        share: Share of the requests that a canary answers, in (0, 1].
        plan: Digest of the change-control plan in force; "" where there was none.
        owner: The retraining that drives it; "" where a person began it.
        reason: Why, in a sentence.
        actor: Who or what began it.
        approved_by: Who agreed beforehand; "" for nobody.
        started_at: When it began, ISO 8601 in UTC.
        since: When its phase began, likewise.
        when_quiet: What a person wants where its phases end with too little evidence; "" leaves
            that to the plan.
        heatmaps_fall: Whether the gate has seen its heatmaps fall where its answers rest less on
            the cue; a fall of its activation recall then does not withdraw it.
    """

    rollout_id: str
    version: int
    digest: str
    champion: int
    phase: Phase
    share: float
    plan: str
    owner: str
    reason: str
    actor: str
    approved_by: str
    started_at: str
    since: str
    when_quiet: Literal["", "go_on", "withdraw"] = ""
    heatmaps_fall: bool = False

    def advanced(self, *, now: datetime) -> "Rollout":
        """Return it as a canary; unchanged where it is one already."""
        if self.phase == "canary":
            return self
        return replace(self, phase="canary", since=now.isoformat())

    def ended(self, outcome: Outcome, *, reason: str, actor: str, now: datetime) -> "Ended":
        """Return how it ended."""
        return Ended(self, outcome, reason, actor, now.isoformat())


@dataclass(frozen=True, slots=True)
class Ended:
    """How a rollout ended.

    Attributes:
        rollout: As it stood last.
        outcome: Whether its candidate became champion.
        reason: Why, in a sentence.
        actor: Who or what ended it.
        at: When, ISO 8601 in UTC.
    """

    rollout: Rollout
    outcome: Outcome
    reason: str
    actor: str
    at: str


def check_under_way(rollout: Rollout | None, rollout_id: str | None, name: str) -> Rollout:
    """Return the rollout that is under way.

    Args:
        rollout: What the pointer says.
        rollout_id: The one that the caller means; None for whichever there is.
        name: The model.

    Raises:
        VersionConflictError: If there is none, or another one.
    """
    if rollout is None:
        raise VersionConflictError(f"no rollout of {name!r} is under way")
    if rollout_id not in {None, rollout.rollout_id}:
        raise VersionConflictError(
            f"rollout {rollout_id} of {name!r} is over; {rollout.rollout_id} is under way"
        )
    return rollout


def to_plain(rollout: Rollout | None, ended: tuple[Ended, ...]) -> dict[str, Any]:
    """Return both as JSON values."""
    return {
        "rollout": None if rollout is None else asdict(rollout),
        "ended": [asdict(each) for each in ended],
    }


def from_plain(value: Mapping[str, Any]) -> tuple[Rollout | None, tuple[Ended, ...]]:
    """Read what `to_plain` returned; nothing where an earlier program wrote the file.

    Raises:
        LookupError: If something is missing.
        TypeError: If something has another form.
    """
    under_way = value.get("rollout")
    return (
        None if under_way is None else Rollout(**under_way),
        tuple(
            Ended(**{**each, "rollout": Rollout(**each["rollout"])})
            for each in value.get("ended", [])
        ),
    )
