"""What the policy decided, as it is written down: to ask for a retraining or to wait, and why."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal, TypeAlias

# Why: the alarm is ripe; or it informs only, waits for a person, rests on too little, has too few
# regions to train on; or a request is not settled, the model cools down, the budget is spent; or
# nothing is asked.
Kind: TypeAlias = Literal[
    "ripe", "informs", "unseen", "thin", "untrainable", "unsettled", "cooling", "spent", "quiet"
]


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason of a decision.

    Attributes:
        kind: Which.
        text: In a sentence, with numbers.
        alarm_id: The alarm that it is about; "" for one that holds for the model.
    """

    kind: Kind
    text: str
    alarm_id: str = ""

    def __str__(self) -> str:
        """Return the sentence."""
        return self.text


@dataclass(frozen=True, slots=True)
class DecisionEvent:
    """What the policy made of the standing alarms of a model, whenever its reasons changed.

    Attributes:
        model: The model's name.
        retrain: Whether it asked for a retraining.
        reasons: Why, or why not.
        alarm_ids: The alarms that the request answers; empty when waiting.
        request_id: The request that it made, or that it refused when one came from outside.
    """

    event_id: str
    event_time: datetime
    model: str
    retrain: bool
    reasons: tuple[Reason, ...]
    alarm_ids: tuple[str, ...] = ()
    request_id: str | None = None
    subject: str | None = None
    kind: ClassVar[str] = "decision"
