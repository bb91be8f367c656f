"""What is written down: one frozen value per event, one canonical text per value.

Every event has `event_id` (unique, sorts by time), `event_time` (when it happened, which is not
when it was ingested) and `subject` (the pseudonym whose erasure takes it along, or None). Numbers
keep their provenance: the model version, the explainer, where a region came from.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from audit import canonical
from audit.canonical import Packed
from audit.comparisons import ComparisonRecord
from audit.decided import DecisionEvent
from audit.errors import RecordError
from audit.suspicions import SuspicionEvent

SCHEMA = 1

RegionSource: TypeAlias = Literal["client", "segmenter", "template", "reviewer"]
Stream: TypeAlias = Literal["live", "drill"]
Verdict: TypeAlias = Literal["right-reason", "wrong-reason", "wrong-class", "unsure", "bad-image"]
Side: TypeAlias = Literal["low", "high"]
# "second": by another person, who has not seen what the first said; "adjudication": who has.
ReadingKind: TypeAlias = Literal["first", "second", "adjudication"]
Exemplar: TypeAlias = Literal["good", "bad", ""]
# What a reviewer began to draw with: a region that somebody else knew, or the heatmap itself.
Basis: TypeAlias = Literal["client", "segmenter", "template", "heatmap", ""]


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Which trained version answered.

    Attributes:
        name: The model's name.
        version: Counts from 1 within the name.
        digest: "sha256:" and the digest of the version's content.
    """

    name: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class RatedClass:
    """One class with the probability that the model gave it.

    Attributes:
        index: Position among the model's classes.
        label: The class's name.
        probability: In [0, 1].
    """

    index: int
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class RegionEvidence:
    """Where evidence is expected, on the heatmap's grid.

    Attributes:
        source: Who says so; sources are never mixed in one detector.
        origin: More about the source: the segmenter's version, the template's name, the reviewer.
        shares: Share of each cell that the region covers, packed by `canonical.packed_shares`.
        area: Share of the image that the region covers, in (0, 1], before it was put on the grid.
    """

    source: RegionSource
    origin: str
    shares: Packed
    area: float


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """One answer with its reason, exactly as it was given.

    Attributes:
        event_id: The prediction's id.
        event_time: When it was answered.
        model: The version that answered.
        classes: The classes that were answered, most probable first; never empty.
        probabilities: One per class of the model, "<f4".
        target: The explained class.
        explainer: Name and version of the method, for example "gradcam/1".
        heatmap: Grad-CAM after ReLU over its maximum, packed by `canonical.packed_shares`.
        embedding: Input of the last linear layer, "<f2"; None where it was not kept.
        region: Where evidence was expected; None when nobody said.
        measures: Name → value, computed on the unrounded heatmap; empty without a region.
        image: Keyed address of the stored pixels; None where they were not kept.
        subject: Pseudonym of the person that the image shows, for erasure.
        stream: "drill" for the known images of a fire drill, which feed no live detector.
    """

    event_id: str
    event_time: datetime
    model: ModelRef
    classes: tuple[RatedClass, ...]
    probabilities: Packed
    target: RatedClass
    explainer: str
    heatmap: Packed
    embedding: Packed | None = None
    region: RegionEvidence | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    image: str | None = None
    subject: str | None = None
    stream: Stream = "live"
    kind: ClassVar[str] = "prediction"

    @property
    def prediction_id(self) -> str:
        """The prediction's id: the same as `event_id`."""
        return self.event_id

    @property
    def decided(self) -> RatedClass:
        """The most probable class."""
        return self.classes[0]


@dataclass(frozen=True, slots=True)
class LabelEvent:
    """The true class of an answered image, learned later. A later one supersedes an earlier one.

    Attributes:
        prediction_id: The answer that it belongs to.
        label: The class's name.
        actor: Who says so.
    """

    event_id: str
    event_time: datetime
    prediction_id: str
    label: str
    actor: str
    subject: str | None = None
    kind: ClassVar[str] = "label"


@dataclass(frozen=True, slots=True)
class RegionEvent:
    """The region of an answered image, learned later. A later one supersedes one of its source.

    Attributes:
        prediction_id: The answer that it belongs to.
        region: Where evidence was expected.
        actor: Who says so.
        stratum: Why a reviewer saw it: only regions of the "random" stratum, and those of sources
            that see every answer ("all"), feed detectors.
        basis: What was accepted or amended; "" for a region drawn freely. One that began as the
            heatmap feeds no detector: it would agree with itself.
    """

    event_id: str
    event_time: datetime
    prediction_id: str
    region: RegionEvidence
    actor: str
    stratum: str = "all"
    basis: Basis = ""
    subject: str | None = None
    kind: ClassVar[str] = "region"


@dataclass(frozen=True, slots=True)
class ReviewEvent:
    """A reviewer's verdict on the reason of an answer.

    Attributes:
        prediction_id: The reviewed answer.
        verdict: Whether the answer is right for the right reason.
        actor: The reviewer.
        note: Free text of the reviewer.
        label: The true class, where the reviewer gave it.
        stratum: Why the item was in the queue; only "random" feeds alarms.
        inclusion: Probability with which the item entered the queue, in (0, 1].
        blind: Whether the verdict came before prediction and heatmap were shown.
        seconds: How long the reviewer took.
        reading: Whether others had judged this answer, and whether the reviewer knew what they
            said.
        exemplar: Whether a retraining may take this explanation as its good or bad example; it is
            that of the version that answered, as the reviewer saw it.
    """

    event_id: str
    event_time: datetime
    prediction_id: str
    verdict: Verdict
    actor: str
    note: str = ""
    label: str | None = None
    stratum: str = "chosen"
    inclusion: float = 1.0
    blind: bool = False
    seconds: float | None = None
    reading: ReadingKind = "first"
    exemplar: Exemplar = ""
    subject: str | None = None
    kind: ClassVar[str] = "review"


@dataclass(frozen=True, slots=True)
class ReadingRequest:
    """Somebody wants an answer judged by another person, who does not see the first verdict.

    Attributes:
        prediction_id: The answer.
        actor: Who asks.
        reason: Why.
    """

    event_id: str
    event_time: datetime
    prediction_id: str
    actor: str
    reason: str = ""
    subject: str | None = None
    kind: ClassVar[str] = "reading_request"


@dataclass(frozen=True, slots=True)
class ProbeEvent:
    """What happened to an answer when the irrelevant part of its image was changed.

    Attributes:
        prediction_id: The probed answer.
        intervention: "fill", "blur" or "swap"; "all" for the summary over all three.
        source: Where the region came from that said what is irrelevant.
        measures: Name → value. Of one intervention: "flip", "directed_flip" where the new
            surroundings suggest another class, "probability_shift". Of all: "flip", the share of
            interventions that changed the answer, and each one's with its name before it; and
            "part_reliance", how well one part alone carries the answer into other images.
        falls: Part → by how much the probability of the answer fell as that part alone was
            exchanged; parts are named as in `audit.reliance.parts`. Empty where none was tried.
    """

    event_id: str
    event_time: datetime
    prediction_id: str
    intervention: str
    source: RegionSource
    measures: Mapping[str, float]
    subject: str | None = None
    falls: Mapping[str, float] = field(default_factory=dict)
    kind: ClassVar[str] = "probe"


@dataclass(frozen=True, slots=True)
class AlarmEvent:
    """A step in the life of an alarm.

    Attributes:
        alarm_id: The alarm.
        model: Its model's name.
        version: Its model's version.
        measure: The measure that its detector reads.
        class_label: The class that it is about; "" for all classes together.
        side: "low" when the measure fell, "high" when it rose.
        source: Where the regions came from; "" for a measure that needs none.
        state: The state that it entered.
        evidence: Name → number: "observations", "value", "threshold" and what else the detector
            says.
        actor: Who moved it; "auditor" for the detector itself.
        reason: Why.
    """

    event_id: str
    event_time: datetime
    alarm_id: str
    model: str
    version: int
    measure: str
    class_label: str
    side: Side
    source: str
    state: str
    evidence: Mapping[str, float]
    actor: str
    reason: str = ""
    subject: str | None = None
    kind: ClassVar[str] = "alarm"


@dataclass(frozen=True, slots=True)
class AcknowledgementEvent:
    """A person has seen an alarm.

    Attributes:
        alarm_id: The alarm.
        actor: Who has seen it.
        reason: What the person makes of it.
    """

    event_id: str
    event_time: datetime
    alarm_id: str
    actor: str
    reason: str
    subject: str | None = None
    kind: ClassVar[str] = "acknowledgement"


@dataclass(frozen=True, slots=True)
class RequestEvent:
    """Somebody or something asks for a retraining; whether one starts is decided elsewhere.

    Attributes:
        request_id: The request; asking twice with the same id asks once.
        model: The model's name.
        origin: "alertmanager", "policy" or "person".
        actor: Who asked.
        reason: Why.
        alarm_id: The alarm behind it, where there is one.
    """

    event_id: str
    event_time: datetime
    request_id: str
    model: str
    origin: Literal["alertmanager", "policy", "person"]
    actor: str
    reason: str
    alarm_id: str | None = None
    subject: str | None = None
    kind: ClassVar[str] = "retraining_request"


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """A person's data shall be erased. The auditor does it; `ErasureEvent` says what was done.

    Attributes:
        actor: Who asks.
        subject: Whose data; erased from this event as well.
    """

    event_id: str
    event_time: datetime
    actor: str
    subject: str
    kind: ClassVar[str] = "erasure_request"


@dataclass(frozen=True, slots=True)
class ErasureEvent:
    """Payloads were destroyed, by request or because their time was over.

    Attributes:
        sequences: Sequence numbers of the destroyed payloads.
        images: Addresses of the destroyed images.
        reason: "subject" or "retention", and the rule.
        actor: Who asked.
        versions: "name/version" of models that were trained with what is gone.
    """

    event_id: str
    event_time: datetime
    sequences: tuple[int, ...]
    images: tuple[str, ...]
    reason: str
    actor: str
    versions: tuple[str, ...] = ()
    subject: str | None = None
    kind: ClassVar[str] = "erasure"


@dataclass(frozen=True, slots=True)
class ActionEvent:
    """Anything else that somebody did and may have to answer for.

    Attributes:
        action: What was done.
        actor: Who did it.
        details: Name → text; no image bytes, no secrets.
    """

    event_id: str
    event_time: datetime
    action: Literal[
        "run",
        "gate_result",
        "approval",
        "shadow",
        "canary",
        "withdrawal",
        "promotion",
        "rollback",
        "config_change",
        "access",
        "clock",
        "gap",
        "verification",
        "export",
        "drill",
        "suspicion_search",
        "suspicion_verdict",
    ]
    actor: str
    details: Mapping[str, str] = field(default_factory=dict)
    subject: str | None = None
    kind: ClassVar[str] = "action"


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """The pixels behind an answer, on their way through the journal to where they can be erased.

    Attributes:
        event_id: The prediction's id.
        event_time: When it was answered.
        address: Keyed address under which the image is stored.
        png: The pixels as the model saw them, a PNG file's bytes as "|u1"; nothing else of the
            upload.
        subject: As in the prediction.
    """

    event_id: str
    event_time: datetime
    address: str
    png: Packed
    subject: str | None = None
    kind: ClassVar[str] = "image"


Event: TypeAlias = (
    PredictionRecord
    | LabelEvent
    | RegionEvent
    | ReviewEvent
    | ReadingRequest
    | ProbeEvent
    | AlarmEvent
    | AcknowledgementEvent
    | RequestEvent
    | ErasureRequest
    | ErasureEvent
    | ActionEvent
    | SuspicionEvent
    | DecisionEvent
    | ComparisonRecord
)
Entry: TypeAlias = Event | ImageRecord
KINDS: dict[str, type[Entry]] = {each.kind: each for each in get_args(Entry)}


def to_bytes(event: Entry) -> bytes:
    """Return the canonical text of `event`, with its kind and schema version.

    Raises:
        RecordError: If a number in it is not finite or a moment has no time zone.
    """
    if isinstance(event, ImageRecord) and event.png.data:
        # Base64 has nothing to escape: looking for it would cost more than all the rest.
        empty = replace(event, png=replace(event.png, data=b""))
        spoken = b'"data":"' + base64.b64encode(event.png.data) + b'"'
        return to_bytes(empty).replace(b'"data":""', spoken, 1)
    return canonical.text({"kind": event.kind, "schema": SCHEMA, "event": canonical.dump(event)})


def from_bytes(data: bytes) -> Entry:
    """Read what `to_bytes` wrote.

    Raises:
        RecordError: If it is not such a text, or of a schema version that this program is too old
            for.
    """
    return from_tree(canonical.parse(data))


def from_tree(tree: Mapping[str, Any]) -> Entry:
    """Read the parsed form of what `to_bytes` wrote.

    Raises:
        RecordError: As for `from_bytes`.
    """
    if tree.keys() != {"kind", "schema", "event"}:
        raise RecordError(f"a record has kind, schema and event, not {sorted(tree)}")
    if tree["schema"] != SCHEMA:
        raise RecordError(
            f"schema {tree['schema']!r} is not {SCHEMA}, the one that this program reads"
        )
    if tree["kind"] not in KINDS:
        raise RecordError(
            f"no kind of record is called {tree['kind']!r}; there are {sorted(KINDS)}"
        )
    return canonical.load(KINDS[tree["kind"]], tree["event"])
