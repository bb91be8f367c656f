"""The public types of retrainings."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from services.contract.predictions import Reply, Request
from services.identifiers import PATTERN
from services.retraining.rows import Retraining

Sentence = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Person = Annotated[str, StringConstraints(min_length=1, max_length=200)]
RetrainingId = Annotated[str, StringConstraints(pattern=PATTERN)]


class RetrainingRequest(Request):
    """Asks for a retraining; the change-control plan says what is allowed."""

    model: Annotated[str, StringConstraints(pattern="^[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?$")]
    """The model whose champion is to be replaced."""
    objective: Annotated[str, StringConstraints(pattern="^[a-z0-9_]{1,40}$")] = "auto"
    """How to learn: a name that the plan allows; auto chooses by what is known about the rows."""
    reason: Sentence
    """Why; kept in the model's history."""
    actor: Person = "api"
    """Who asks; ignored where there is a sign-in."""
    hyperparameters: dict[
        Literal["weight", "epochs", "learning_rate", "seed"],
        Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)],
    ] = Field(default_factory=dict)
    """Numbers that differ from those of the champion's recipe."""
    alarm_id: Annotated[str, StringConstraints(pattern="^[0-9a-f]{26}$")] | None = None
    """The alarm that it answers; the alarm then stands as `requested`."""
    priority: Literal["high", "normal", "low"] = "normal"
    """Which of several that wait learns first; equal ones in the order of asking."""
    when_quiet: Literal["go_on", "withdraw"] | None = None
    """What to do with the candidate where a trial with live requests ends with fewer than the
    plan asks for. Default: as the change-control plan says."""


class ApprovalRequest(Request):
    """What one person says about a candidate that the gate has passed."""

    actor: Person | None = None
    """Who; two approvals must come from two persons. Needed where there is no sign-in, and ignored
    where there is one."""
    approved: bool = True
    """False refuses the candidate for good."""
    reason: Sentence
    """Why; kept with the promotion."""


class RetrainingAccepted(Reply):
    """A retraining was written down."""

    retraining_id: RetrainingId
    status: str


class RetrainingEvent(Reply):
    """One line of what happened."""

    at: datetime
    what: str


class RetrainingReply(Reply):
    """One retraining as it stands."""

    retraining_id: RetrainingId
    model: str
    objective: str
    """As asked for."""
    reason: str
    actor: str
    origin: str
    """What asked: person, policy or alertmanager."""
    alarm_id: str | None
    """The alarm that it answers, where a person named one."""
    priority: Literal["high", "normal", "low"] = "normal"
    status: Literal[
        "queued",
        "running",
        "awaiting_approval",
        "promoted",
        "rolled_back",
        "rejected",
        "failed",
        "cancelled",
    ]
    """promoted: its candidate answers; rolled_back: it did, as a canary or as champion, and was
    taken back."""
    step: str
    """What is being done: collect, train, export, evaluate, gate, approve, shadow, canary,
    promote, ended."""
    outcome: str
    """Why it ended as it did; empty before."""
    progress: dict[str, Any] | None = None
    """Of the training: epoch, epochs, share, loss terms, seconds left; null before and after."""
    choice: dict[str, Any] | None = None
    """How it learns and why; null before the data were collected."""
    tournament: list[dict[str, Any]] | None = None
    """Who took part in the choice, each with its figures by rung; null where there was none."""
    candidate: int | None = None
    """The version that was made; null before."""
    measured: dict[str, Any] | None = None
    """Champion and candidate on the locked set; null before the evaluation."""
    verdict: dict[str, Any] | None = None
    """The gate's, with every check; null before."""
    trial: dict[str, str] | None = None
    """How shadow and canary ended, by phase; null before, and where the plan leaves them out.
    While one is under way, `GET /v1/models/{model}/rollout` has it."""
    created_at: datetime
    changed_at: datetime
    events: list[RetrainingEvent] = Field(default_factory=list)
    """What happened, oldest first; only in the reply about one retraining."""


class RetrainingList(Reply):
    """One page of retrainings, newest first."""

    items: list[RetrainingReply]
    next: str | None
    """Cursor of the next page; null on the last."""


def shown(
    found: Retraining,
    progress: dict[str, Any] | None = None,
    events: list[RetrainingEvent] | None = None,
) -> RetrainingReply:
    """Return a retraining as the public contract shows it."""
    facts, request = found.facts, found.request
    names = {"objective": "objective", "reason": "choice", "rows": "rows"}
    choice = {name: facts[fact] for name, fact in names.items() if fact in facts} or None
    return RetrainingReply(
        retraining_id=found.retraining_id,
        model=request.model,
        objective=request.objective,
        reason=request.reason,
        actor=request.actor,
        origin=request.origin,
        alarm_id=request.alarm_id,
        priority=request.priority,
        status=found.status,
        step=found.step,
        outcome=found.reason,
        progress=progress,
        choice=choice,
        tournament=facts.get("tournament"),
        candidate=facts.get("candidate"),
        measured=facts.get("measured"),
        verdict=facts.get("verdict"),
        trial=facts.get("trial"),
        created_at=found.created_at,
        changed_at=found.changed_at,
        events=events or [],
    )
