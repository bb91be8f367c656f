"""What the policy decided, and the requests for retrainings that were made."""

from datetime import datetime
from typing import Literal

from services.contract.predictions import Reply


class ReasonReply(Reply):
    """One reason of a decision."""

    kind: Literal[
        "ripe",
        "informs",
        "unseen",
        "thin",
        "untrainable",
        "unsettled",
        "cooling",
        "spent",
        "quiet",
    ]
    """ripe: the alarm asks for a retraining. It does not where it informs only, is unseen by a
    person, is thin in evidence, or untrainable for want of regions; no alarm does while a request
    is unsettled, the model is cooling down or its budget is spent."""
    text: str
    alarm_id: str | None
    """The alarm that it is about; null where it holds for the model."""


class DecisionReply(Reply):
    """What the policy made of the alarms of a model; written down whenever its reasons changed."""

    at: datetime
    retrain: bool
    reasons: list[ReasonReply]
    alarm_ids: list[str]
    request_id: str | None
    """The request that it made, or that it refused when one came from outside."""


class DecisionList(Reply):
    """A page of decisions, newest first."""

    items: list[DecisionReply]
    next: str | None


class RequestReply(Reply):
    """A request for a retraining."""

    request_id: str
    model: str
    origin: Literal["alertmanager", "policy", "person"]
    actor: str
    reason: str
    alarm_ids: list[str]
    status: str
    """open; superseded where it was refused; else that of its retraining."""
    opened_at: datetime
    refusal: list[ReasonReply]
    """Why it was refused; empty where it was not."""


class RequestList(Reply):
    """A page of requests, newest first."""

    items: list[RequestReply]
    next: str | None
