"""Request and response types: the whole public contract of predictions and models.

Names are the contract: fields may be added, none renamed. A request with a field that is not
listed here is refused.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.identifiers import PATTERN

ExplainerName = Literal[
    "gradcam",
    "input_gradients",
    "gradient_x_input",
    "smoothgrad",
    "integrated_gradients",
    "lrp",
]
# The smallest PNG: one transparent pixel.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJ"
    "RU5ErkJggg=="
)
Base64 = Annotated[
    str,
    StringConstraints(min_length=1),
    Field(json_schema_extra={"format": "byte"}, examples=[PIXEL]),
]
PredictionId = Annotated[str, StringConstraints(pattern=PATTERN)]
# What somebody writes into a model's history; PostgreSQL holds no NUL.
Why = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]
Who = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
# The version whose number is a path segment; what SQL and file names can hold.
VersionNumber = Annotated[int, Field(ge=1, le=2**31 - 1)]


class Request(BaseModel):
    """What a client sends; a field that is not listed is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Reply(BaseModel):
    """What a client gets; fields may be added by a later version."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Options(Request):
    """What to answer about each image."""

    explainer: ExplainerName = "gradcam"
    """Method of the explanation. gradcam costs nearly nothing; the others compute gradients to the
    pixels."""
    target: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    """Class to explain: its label, or else its index. Default: the most probable class."""
    top_k: int = Field(default=5, ge=1, le=1000)
    """How many classes to list, most probable first."""
    overlay: Literal["png"] | None = None
    """png: add the heatmap drawn over the image as a data URL."""
    subject: (
        Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00]*$")]
        | None
    ) = None
    """Pseudonym of the person or thing shown, so that its records can be erased on request."""


class PredictionRequest(Options):
    """JSON body of `POST /v1/models/{model}/predictions`."""

    image: Base64 | Annotated[list[Base64], Field(min_length=1)]
    """One image or several: the file's bytes in base64."""
    region: Base64 | list[Base64 | None] | None = None
    """Where evidence is expected: a PNG in base64 of the image's size, non-zero where relevant;
    one per image."""


class ImageRequest(Options):
    """JSON body of `POST /predict`: one image."""

    image: Base64
    """The file's bytes in base64."""
    region: Base64 | None = None
    """Where evidence is expected: a PNG in base64 of the image's size, non-zero where relevant."""


class ModelVersion(Reply):
    """The version that answered."""

    name: str
    version: int
    digest: str
    """"sha256:" and the digest of the version's content."""


class ClassProbability(Reply):
    """One class and how probable the classifier holds it."""

    label: str
    index: int
    """Position among the model's classes."""
    probability: float = Field(ge=0, le=1)


class TargetClass(Reply):
    """The class that is explained."""

    label: str
    index: int


class ExplanationReply(Reply):
    """Where the evidence for the target lies."""

    explainer: str
    target: TargetClass
    shape: tuple[int, int]
    """Rows and columns of the grid, which covers the whole of the classifier's input."""
    grid: list[list[float]]
    """Evidence for the target in [0, 1], row by row from the top; 1 is the strongest of this
    image."""
    overlay: str | None = None
    """The heatmap over the classifier's input, as a data URL of a PNG; when asked for."""


class AuditReply(Reply):
    """How well Grad-CAM agrees with the region, whichever explainer was asked for."""

    region_source: Literal["client", "segmenter", "template", "reviewer"]
    activation_recall: float = Field(ge=0, le=1)
    """Mean heatmap value over the region."""
    relevance_mass: float = Field(ge=0, le=1)
    """Share of the heatmap's total that lies inside the region; 0 where the heatmap is empty."""
    chance: float = Field(ge=0, le=1)
    """Share of the image that the region covers: the relevance mass of a heatmap that ignores the
    image."""


class Answer(Reply):
    """One image's answer with its reason."""

    prediction_id: PredictionId
    answered_at: datetime
    model: ModelVersion
    classes: list[ClassProbability]
    """The most probable classes, most probable first."""
    explanation: ExplanationReply
    audit: AuditReply | None = None
    """Present when the request held a region."""


class Answers(Reply):
    """Answers in the order of the images."""

    predictions: list[Answer]


class Trial(Reply):
    """What a version makes of one image that is not kept."""

    model: ModelVersion
    classes: list[ClassProbability]
    """The most probable classes, most probable first."""
    explanation: ExplanationReply
    audit: AuditReply | None = None
    """Present when the request held a region."""
    image: str
    """The pixels that the classifier saw, as a data URL of a PNG."""


class VersionReply(Reply):
    """One version of a model with its card."""

    name: str
    version: int
    digest: str
    champion: bool
    """Whether this version answers now."""
    created_at: datetime
    """When it was filed in the registry."""
    card: dict[str, Any]
    """Model card: preprocessing, classes, measures, lineage, library versions."""
    cautions: list[str] = []
    """What to know before trusting it: explainers that do not react to the weights, training rows
    that have been erased since."""


class Move(Reply):
    """One move of the champion pointer."""

    sequence: int
    action: Literal["promote", "rollback"]
    version: int
    digest: str
    previous: int | None
    """What answered before; null at the first move."""
    reason: str
    actor: str
    at: datetime
    plan: str
    """Digest of the change-control plan in force; empty where nobody said."""
    approved_by: str
    """Who agreed beforehand; empty for nobody."""


class ModelReply(Reply):
    """One model."""

    name: str
    champion: int | None
    """Number of the version that answers now; null before the first promotion."""
    versions: list[int]
    """All numbers, oldest first."""
    history: list[Move]
    """The last moves of the champion pointer, newest first."""


class ModelList(Reply):
    """One page of models, by name."""

    items: list[ModelReply]
    next: str | None
    """Cursor of the next page; null on the last."""


class VersionList(Reply):
    """One page of versions, newest first."""

    items: list[VersionReply]
    next: str | None
    """Cursor of the next page; null on the last."""


class PromotionRequest(Request):
    """Makes a version the champion."""

    version: VersionNumber
    reason: Why
    """Why; kept in the model's history."""
    actor: Who = "api"
    """Who decides; kept in the model's history, and ignored where there is a sign-in."""
    expected: VersionNumber | None = None
    """Refuse with 409 unless this version is the champion now."""


class RollbackRequest(Request):
    """Makes the champion before this one the champion again."""

    reason: Why
    """Why; kept in the model's history."""
    actor: Who = "api"
    """Who decides; kept in the model's history, and ignored where there is a sign-in."""


class ServedModel(Reply):
    """A model as this worker serves it."""

    name: str
    version: int
    digest: str
    providers: list[str]
    """ONNX Runtime's execution providers in use, first choice first."""
    since: datetime
    """When this worker began to answer with this version."""


class TroubleReply(Reply):
    """Something that is broken, though this worker answers."""

    kind: Literal["recording", "following", "version", "store", "auditor", "journal", "runner"]
    said: str
    """What is broken, in a sentence."""
    remedy: str
    """What to do."""


class Readiness(Reply):
    """Whether this worker can answer."""

    ready: bool
    models: list[ServedModel]
    default_model: str
    troubles: list[TroubleReply] = Field(default_factory=list)
    """What is broken in the installation: empty where all is well."""


class Liveness(Reply):
    """This worker runs."""

    alive: Literal[True] = True
    version: str
    """Version of Rightly."""


class FieldProblem(BaseModel):
    """One field that was wrong."""

    field: str
    message: str


class Problem(BaseModel):
    """The one shape of every error answer, `application/problem+json` (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []
