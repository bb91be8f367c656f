"""What charts are drawn from: the evidence of a watch, measures over time, distributions."""

from datetime import datetime
from typing import Literal

from pydantic import AliasChoices, ConfigDict, Field

from services.contract.audits import EstimateReply
from services.contract.predictions import Reply

_CLASS = Field(serialization_alias="class", validation_alias=AliasChoices("class_label", "class"))
_NAMED = ConfigDict(frozen=True, use_attribute_docstrings=True, populate_by_name=True)


class WindowReply(Reply):
    """One bucket of time."""

    start: datetime
    estimate: EstimateReply
    """Wilson's interval where every value is 0 or 1, else a normal one."""


class SeriesReply(Reply):
    """One measure over time."""

    model_config = _NAMED

    model: str
    version: int | None
    measure: str
    source: str
    class_label: str = _CLASS
    """The decided class; empty for all together."""
    bucket: Literal["hour", "day", "month"]
    """Coarser than asked for where there would be more than 500 points."""
    points: list[WindowReply]


class BandReply(Reply):
    """While one version answered."""

    version: int
    since: datetime
    until: datetime | None
    """None while it still does."""


class MarkReply(Reply):
    """Something that happened to a watch."""

    at: datetime
    state: Literal["ok", "warning", "alarm", "acknowledged", "requested", "closed"]
    """The state that its alarm entered."""
    actor: str
    reason: str


class ReferenceReply(Reply):
    """What the measure was when all was well."""

    mean: float
    deviation: float
    observations: int
    origin: Literal["card", "traffic"]
    """From the model's card, or from the first live answers."""


class LimitReply(Reply):
    """One statistic and the value at which it raises the alarm."""

    value: float
    threshold: float


class WatchReply(Reply):
    """One series under watch, as it stands."""

    model_config = _NAMED

    alarm_id: str
    model: str
    version: int
    measure: str
    class_label: str = _CLASS
    """The decided class; empty for all together."""
    side: Literal["low", "high"]
    source: str
    """Where the regions came from; empty for a measure that needs none."""
    state: Literal["ok", "warning", "alarm", "acknowledged", "requested", "closed"]
    observations: int
    """Answers that the detector has taken; while its reference is not frozen, that were put by."""
    evidence: LimitReply | None
    """The detector's e-value; None while there is no reference."""
    cusum: LimitReply | None
    """The CUSUM drawn beside it, in standard deviations; None where there is none."""
    reference: ReferenceReply | None
    """None for conformal p values, and while it is not frozen."""
    unwatchable: str
    """Why there can be no detector; empty where there can."""


class WatchList(Reply):
    """The series under watch of a model version, the strongest evidence first."""

    items: list[WatchReply]


class EvidencePoint(Reply):
    """The evidence after so many answers."""

    at: datetime
    """When the last of them was given."""
    observations: int
    value: float
    """The e-value: the wealth of the bets against all being well."""
    log10: float
    """Its decimal logarithm, for a chart; a small negative number where the wealth is nearly 0."""
    peak: float
    """The highest e-value since the point before: a line through the peaks hides no alarm."""
    cusum: float | None
    cusum_peak: float | None


class EvidenceReply(Reply):
    """The evidence of one watch over time, with everything that a chart of it shows."""

    watch: WatchReply
    points: list[EvidencePoint]
    """At most 500, oldest first, thinned as the watch grows."""
    marks: list[MarkReply]
    """Warnings, alarms, acknowledgements, requests and ends, oldest first."""
    bands: list[BandReply]
    """Which version answered when, oldest first."""


class DistributionReply(Reply):
    """How a measure of one version is distributed."""

    version: int
    observations: int
    mean: EstimateReply
    counts: list[int]
    """Values per bin."""


class DistributionList(Reply):
    """A histogram per version over the same bins."""

    model_config = _NAMED

    model: str
    measure: str
    source: str
    class_label: str = _CLASS
    """The decided class; empty for all together."""
    edges: list[float]
    """Of the bins, one more than counts; a bin includes its lower edge, the last one both."""
    versions: list[DistributionReply]
    """Oldest first."""
