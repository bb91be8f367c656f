"""A candidate's part in one live request: silently beside the champion, or in its place."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Literal


@dataclass(frozen=True, slots=True)
class ComparisonRecord:
    """What a candidate made of one image, whose answer is recorded on its own.

    Attributes:
        event_id: Of this record.
        event_time: When the candidate was done.
        rollout_id: The candidate's rollout.
        phase: "shadow" where nobody saw what it said; "canary" where it was to answer.
        prediction_id: The answer that was given: the champion's to a shadow, the canary's own, or
            the champion's in its place where it failed; "" where there was no request.
        model: The model's name.
        version: The candidate.
        champion: The version that it is compared with.
        failure: Why the candidate gave no usable answer; "" where it did.
        class_label: What it decided; "" where it failed.
        confidence: The probability of that class, in [0, 1]; None where it failed.
        agrees: Whether the champion decided likewise; None where only one of them was asked.
        measures: The candidate's against the answer's region, by name; empty without a region, and
            of a canary, whose measures are in its answer.
        champion_measures: The champion's, likewise.
        milliseconds: The candidate's time for this image; None where it failed.
        champion_milliseconds: The champion's, for this image or its median of late.
        dropped: Images that this process could not ask the candidate since its last record.
        subject: As in the answer.
    """

    event_id: str
    event_time: datetime
    rollout_id: str
    phase: Literal["shadow", "canary"]
    prediction_id: str
    model: str
    version: int
    champion: int
    failure: str = ""
    class_label: str = ""
    confidence: float | None = None
    agrees: bool | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    champion_measures: Mapping[str, float] = field(default_factory=dict)
    milliseconds: float | None = None
    champion_milliseconds: float | None = None
    dropped: int = 0
    subject: str | None = None
    kind: ClassVar[str] = "comparison"

    @property
    def recall_fall(self) -> float | None:
        """The champion's activation recall minus the candidate's; None where one is unknown."""
        own, other = (
            each.get("activation_recall") for each in (self.measures, self.champion_measures)
        )
        return None if own is None or other is None else other - own
