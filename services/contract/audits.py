"""Request and response types of the audit: what is measured, what people say about it, alarms."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints

from audit.verdict import Colour, Kind, Step
from services.contract.predictions import Base64, Reply, Request

Actor = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00]*$")]
Text = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class LabelRequest(Request):
    """The true class of an answered image."""

    label: Label
    """One of the model's classes."""
    actor: Actor = "anonymous"
    """Who says so; ignored where there is a sign-in."""


class RegionRequest(Request):
    """Where evidence is expected in an answered image."""

    region: Base64
    """A PNG in base64, drawn on `image.png` of the answer and of its size; non-zero where
    relevant."""
    source: Literal["client", "reviewer"] = "reviewer"
    """Whose word it is; sources are never mixed."""
    stratum: Literal["all", "random", "chosen"] = "chosen"
    """Why this answer: all answers get a region, a random sample does, or it was chosen. A chosen
    one is shown and feeds no alarm."""
    basis: Literal["client", "segmenter", "template", "heatmap", ""] = ""
    """The suggestion that was accepted or amended; empty for a region drawn freely. One that began
    as the heatmap feeds no alarm."""
    actor: Actor = "anonymous"
    """Who says so; ignored where there is a sign-in."""


class ReviewRequest(Request):
    """A reviewer's verdict on the reason of an answer."""

    verdict: Literal["right-reason", "wrong-reason", "wrong-class", "unsure", "bad-image"]
    note: Text = ""
    label: Label | None = None
    """The true class, where the reviewer gives it."""
    stratum: Literal["random", "chosen"] = "chosen"
    """Why the answer was in the queue."""
    inclusion: float = Field(default=1.0, gt=0, le=1)
    """Probability with which it entered the queue."""
    blind: bool = False
    """Whether the verdict came before prediction and heatmap were shown."""
    seconds: float | None = Field(default=None, ge=0, le=86_400)
    """How long it took."""
    reading: Literal["first", "second", "adjudication"] = "first"
    """second: by another person than the first, who has not seen that verdict; adjudication: who
    has, and decides."""
    exemplar: Literal["good", "bad", ""] = ""
    """good (right reason) or bad (wrong reason): a retraining by exemplary explanations takes this
    one."""
    actor: Actor = "anonymous"
    """The reviewer; ignored where there is a sign-in."""


class ReadingWish(Request):
    """Asks for a second reader of an answer."""

    actor: Actor = "anonymous"
    """Who asks."""
    reason: Text = ""
    """Why."""


class AcknowledgementRequest(Request):
    """A person has seen an alarm."""

    actor: Actor | None = None
    """Who; needed where there is no sign-in, and ignored where there is one."""
    reason: Annotated[Text, StringConstraints(min_length=1)]
    """What the person makes of it."""


class Accepted(Reply):
    """Written down; the auditor takes it from there within a moment."""

    event_id: str


class EstimateReply(Reply):
    """A mean, and the range in which the truth lies at the stated level."""

    value: float
    low: float | None
    """None where one observation says nothing about the range."""
    high: float | None
    observations: int
    level: float


class MeasuredReply(Reply):
    """One measure."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, populate_by_name=True)

    measure: str
    source: str
    """Where the regions came from; empty for a measure that needs none."""
    class_label: str = Field(
        serialization_alias="class", validation_alias=AliasChoices("class_label", "class")
    )
    """The decided class; empty for all together."""
    estimate: EstimateReply


class CoverageReply(Reply):
    """How much is known about the answers."""

    answers: int
    with_region: int
    with_label: int
    reviewed: int
    erased: int


class ReviewedReply(Reply):
    """How often a verdict would be given, were every answer reviewed."""

    verdict: str
    random: EstimateReply | None
    """From the random stratum alone, the only one that feeds alarms."""
    weighted: EstimateReply
    """From all first readings, each weighted by one over its probability of being asked for."""


class AuditSummary(Reply):
    """What the audit knows about a model."""

    model: str
    version: int | None
    coverage: CoverageReply
    measures: list[MeasuredReply]
    verdicts: dict[str, int]
    """As counted; what is chosen for review is not like the rest."""
    reviewed: list[ReviewedReply]
    """Without the bias of that choice."""


class KnownRegion(Reply):
    """Where one source expects the evidence."""

    source: Literal["client", "segmenter", "template", "reviewer"]
    origin: str
    """The segmenter's version, the template's name, the reviewer."""
    area: float
    """Share of the image."""
    grid: list[list[float]]
    """Share of each cell of the heatmap's grid that the region covers, row by row from the top."""


class KnownRegions(Reply):
    """The last region of each source."""

    items: list[KnownRegion]


class ReadingReply(Reply):
    """What one person said about an answer."""

    actor: str
    verdict: str
    label: str | None
    note: str
    at: datetime


class ConflictReply(Reply):
    """An answer about which readers differ, and nobody has decided."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, populate_by_name=True)

    prediction_id: str
    version: int
    class_label: str = Field(
        serialization_alias="class", validation_alias=AliasChoices("class_label", "class")
    )
    """The decided class."""
    readings: list[ReadingReply]


class AgreementReply(Reply):
    """How far readers agree."""

    model: str
    version: int | None
    coefficient: Literal["kappa", "alpha"] | None
    """kappa: Cohen's, of two readers; alpha: Krippendorff's, of more; null while nothing was read
    twice."""
    readers: int
    answers: int
    """How many were read by two or more."""
    observed: EstimateReply | None
    """Share of pairs of readings that agree."""
    beyond_chance: EstimateReply | None
    """The coefficient: 1 for perfect agreement, 0 for that of chance; null where it is undefined
    because only one verdict was ever given."""
    conflicts: list[ConflictReply]
    """Newest first, at most 50."""


class AlarmPlace(Reply):
    """The part of the pictures that carries the answers, over the latest probed ones."""

    said: str
    """In words."""
    part: Literal["place", "frame", "colour", "detail", "changing", ""]
    """"changing": single parts at changing places; "": no part carries them."""
    left: float
    """Of the place, as a share of the picture's width."""
    top: float
    width: float
    height: float
    consistency: float
    """Share of the answers that are carried from there."""
    answers: int
    """How many were probed."""
    map: list[list[float]]
    """Mean fall of the answer's probability as each cell is exchanged, rows from the top."""
    examples: list[str]
    """Ids of answers that are carried from there, the strongest first."""


class AlarmEvidence(Reply):
    """What an alarm rests on."""

    observations: int
    value: float
    threshold: float
    reference: float | None = None
    """Mean of the measure when all was well."""
    where: AlarmPlace | None = None
    """Where the answers come from; of an alarm over reliance on a part only."""


class AlarmReply(Reply):
    """One alarm."""

    alarm_id: str
    model: str
    version: int
    measure: str
    class_label: str = Field(
        serialization_alias="class", validation_alias=AliasChoices("class_label", "class")
    )
    side: Literal["low", "high"]
    source: str
    state: str
    evidence: AlarmEvidence
    raised_at: datetime
    changed_at: datetime
    actor: str
    reason: str


class AlarmList(Reply):
    """A page of alarms, newest first."""

    items: list[AlarmReply]
    next: str | None


class WebhookAlert(BaseModel):
    """One alert of Alertmanager; what it sends besides is ignored."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str] = Field(max_length=64)
    fingerprint: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    startsAt: Annotated[str, StringConstraints(min_length=1, max_length=64)]  # noqa: N815 - theirs


class WebhookRequest(BaseModel):
    """What Alertmanager's webhook sends (version 4)."""

    alerts: list[WebhookAlert] = Field(max_length=1000)


class WebhookReply(Reply):
    """What became of the alerts."""

    requests: list[str]
    """Ids of the requests that were asked for; the same alert gives the same id again."""
    ignored: int
    """Alerts that are resolved, ask for nothing, or are about no model of the registry."""


class VerdictReply(Reply):
    """Whether a model is right for the right reasons, in one sentence."""

    model: str
    kind: Kind
    """What the sentence says, for programs."""
    colour: Colour
    """`ok` only where the reasons are watched and the whole interval speaks for them."""
    sentence: str
    next_step: Step
    """What to do next, for programs."""
    next_step_label: str
    """The same in words."""
