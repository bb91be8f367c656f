"""The public types of rollouts: a candidate in the shadow, then a canary, then champion."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from services.contract.predictions import Reply, Request, VersionNumber, Who, Why


class RolloutRequest(Request):
    """Puts a version on trial with live requests."""

    version: VersionNumber
    """The candidate."""
    phase: Literal["shadow", "canary"] = "shadow"
    """What to begin with: shadow answers nobody, canary a share of the requests. After enough
    evidence a shadow becomes a canary, and a canary the champion."""
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the requests that the canary answers. Default: as the change-control plan says."""
    reason: Why
    """Why; kept in the model's history."""
    actor: Who = "api"
    """Who decides; kept in the model's history."""
    expected: VersionNumber | None = None
    """Refuse with 409 unless this version is the champion now."""
    when_quiet: Literal["go_on", "withdraw"] | None = None
    """What to do where a phase ends with fewer requests than the plan asks for. Default: as the
    change-control plan says."""


class WithdrawalRequest(Request):
    """Takes the candidate off its trial; the champion answers everything again."""

    reason: Why
    """Why; kept in the model's history."""
    actor: Who = "api"
    """Who decides; kept in the model's history."""
    rollout_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """Refuse with 409 unless this rollout is under way."""


class RolloutReply(Reply):
    """A candidate on trial."""

    rollout_id: str
    version: int
    """The candidate."""
    digest: str
    champion: int
    """The version that it is compared with and that answers the other requests."""
    phase: Literal["shadow", "canary"]
    share: float
    """Of the requests, answered by the candidate once it is a canary."""
    plan: str
    """Digest of the change-control plan in force."""
    owner: str
    """Identifier of the retraining that drives it; empty where a person began it."""
    reason: str
    actor: str
    approved_by: str
    """Who agreed beforehand; empty for nobody."""
    started_at: datetime
    since: datetime
    """When its phase began."""
    when_quiet: Literal["", "go_on", "withdraw"] = ""
    """What to do where a phase ends with too little evidence; empty leaves that to the plan."""
    heatmaps_fall: bool = False
    """Whether the gate has seen its heatmaps fall where its answers rest less on the cue; a fall
    of its activation recall then does not withdraw it."""


class RolloutEvidence(Reply):
    """What is known about the candidate in its present phase."""

    requests: int
    """Images that it was asked."""
    failed: int
    """Of those, where it gave no usable answer; the champion gave one."""
    failure: str
    """What it said about the last of them; empty for none."""
    unusable: int
    """Workers that could not load it."""
    dropped: int
    """Images that it could not be asked because its queue was full."""
    compared: int
    """Images that both have answered."""
    differed: int
    """Of those, with another class."""
    recall_fall: float | None
    """Mean of the champion's activation recall minus the candidate's on the same images."""
    milliseconds: float | None
    """The candidate's median time per image."""
    champion_milliseconds: float | None
    """The champion's, on the same machine at the same time."""
    alarms: list[str]
    """Standing alarms of the candidate."""
    known_until: datetime | None = None
    """Everything up to this moment is in here; null where nothing is known."""
    unknown: str = ""
    """Why nothing later may be known."""


class RolloutLook(Reply):
    """The last look that was taken at the candidate."""

    at: datetime
    step: Literal["wait", "go_on", "withdraw"]
    reason: str
    needed: int
    """Images that are enough evidence for this phase."""
    seconds: float
    """Longest time of this phase."""
    evidence: RolloutEvidence


class EndedRollout(Reply):
    """A rollout that has ended."""

    rollout: RolloutReply
    outcome: Literal["promoted", "withdrawn"]
    reason: str
    actor: str
    at: datetime


class RolloutStatus(Reply):
    """The candidate of a model, and those before it."""

    model: str
    champion: int | None
    rollout: RolloutReply | None
    """Under way; null where no candidate is on trial."""
    look: RolloutLook | None
    """The runner's last; null before the first and where no candidate is on trial."""
    stale: bool
    """Nobody has looked at the candidate for a while: no runner works. It goes on as it is until
    one does, or until it is withdrawn."""
    ended: list[EndedRollout]
    """The last ones, newest first."""
