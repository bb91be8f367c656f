"""Request and response types of suspected shortcuts."""

from datetime import datetime
from typing import Literal

from pydantic import AliasChoices, ConfigDict, Field

from services.contract.audits import Actor, Text
from services.contract.predictions import Reply, Request

Said = Literal["open", "confirmed", "dismissed"]


class SuspicionReply(Reply):
    """A group of answers of one class whose heatmaps look alike."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, populate_by_name=True)

    suspicion_id: str
    """Stays while the group keeps its look."""
    model: str
    version: int
    class_label: str = Field(
        serialization_alias="class", validation_alias=AliasChoices("class_label", "class")
    )
    """The decided class."""
    suspected: bool
    """Whether the score is high enough to be worth a person's look."""
    score: float
    """How strongly it suggests a shortcut, in [0, 1]: geometric mean of focus and distance."""
    focus: float
    """0: looks everywhere; 1: looks at one cell."""
    distance: float
    """0: looks like the class's other answers; 1: shares nothing with them."""
    size: int
    """Answers in the group."""
    share: float
    """Their share of the grouped answers."""
    answers: int
    """Answers that were grouped."""
    groups: int
    """Groups that they fell into."""
    eigengap: float
    """How clearly they fell apart: the gap in the spectrum of their neighbourhood graph."""
    heatmap: list[list[float]]
    """Mean heatmap of the group; its cells sum to 1."""
    examples: list[str]
    """Ids of the most typical answers, most typical first, but for those that are erased."""
    verdict: Said
    """What a person last said about it."""
    current: bool
    """Whether the latest grouping found it again."""
    first_found_at: datetime
    found_at: datetime
    """When the figures were taken."""


class SuspicionList(Reply):
    """A page of suspicions, highest score first."""

    items: list[SuspicionReply]
    next: str | None


class SuspicionVerdictReply(Reply):
    """What a person made of a suspicion."""

    verdict: Said
    actor: str
    note: str
    at: datetime


class SuspicionDetail(SuspicionReply):
    """A suspicion with its history."""

    verdicts: list[SuspicionVerdictReply]
    """Oldest first."""


class SuspicionVerdictRequest(Request):
    """What a person makes of a suspicion."""

    verdict: Said
    """confirmed: it is a shortcut; dismissed: it is not; open: undecided again."""
    actor: Actor = "anonymous"
    """Who says so."""
    note: Text = ""
    """Why."""


class SearchRequest(Request):
    """A wish to look now."""

    actor: Actor = "anonymous"
    """Who wants it."""
