"""What the audit store says about a model: per class, by example, what to suspect, who agrees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from audit import readings, recent, report
from audit.agreement import Agreement
from audit.canonical import read_moment
from audit.intervals import Estimate
from audit.recent import Decided, Example
from audit.store import suspicions
from audit.store.suspicions import Wanted

_GALLERY = 12  # examples
_ALARMS = 20
_SUSPICIONS = 8
_RAISED = ("alarm", "acknowledged", "requested", "closed")
# What the charts can show, where there are values.
SHOWN = ("activation_recall", "relevance_mass", "part_reliance", "directed_flip", "flip")


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One decided class in the window.

    Attributes:
        decided: How often it was decided, and how often rightly.
        values: Measure → estimate; chances among them; empty without regions.
    """

    decided: Decided
    values: Mapping[str, Estimate]

    @property
    def doubtful(self) -> bool:
        """Whether the evidence lies where it would for a heatmap that ignores the image."""
        mass, chance = self.values.get("relevance_mass"), self.values.get("chance")
        return mass is not None and chance is not None and mass.low <= chance.value


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the audit store says about a version of a model, for regions of one source.

    Attributes:
        source: The source; never mixed with another.
        sources: Source → values of Activation Recall in the window, most first.
        measures: Which measures have values.
        classes: One row per decided class.
        worst: Answers with the least relevance mass.
        alarms: Raised alarms, newest first.
        suspicions: Groups of heatmaps that look alike, most suspicious first.
        agreement: How far its readers agree.
        conflicts: Answers of the model about which readers differ.
    """

    source: str
    sources: Mapping[str, int]
    measures: Sequence[str]
    classes: Sequence[ClassRow]
    worst: Sequence[Example]
    alarms: Sequence[Mapping[str, Any]]
    suspicions: Sequence[Mapping[str, Any]]
    agreement: Agreement
    conflicts: int

    @property
    def answers(self) -> int:
        """How many answers the window holds."""
        return sum(each.decided.answers for each in self.classes)


def gather(
    connection: Connection, model: str, version: int | None, source: str | None
) -> Evidence:
    """Return the evidence about a version.

    Args:
        connection: To the store.
        model: The model's name.
        version: Its version; None for all.
        source: Of the regions; None for the one with the most.
    """
    since = recent.beginning(connection, model, version, recent.WINDOW)
    found = _measured(connection, model, version, since)
    sizes = _sizes(found)
    chosen = source or next(iter(sizes), "client")
    ofs = [each for each in found if each.source == chosen]
    known = {each.measure for each in ofs}
    return Evidence(
        source=chosen,
        sources=sizes,
        measures=[name for name in SHOWN if name in known],
        classes=_classes(connection, model, version, since, ofs),
        worst=recent.examples(
            connection, model, version, "relevance_mass", limit=_GALLERY, source=chosen
        ),
        alarms=report.alarms(connection, model=model, states=_RAISED, limit=_ALARMS).rows,
        suspicions=suspicions.listed(connection, Wanted(model, version), limit=_SUSPICIONS),
        agreement=readings.of_model(connection, model, version),
        conflicts=len(readings.conflicts(connection, model)),
    )


def _measured(
    connection: Connection, model: str, version: int | None, since: str
) -> Sequence[report.Measured]:
    if not since:
        return []
    span = report.Span(model, version, read_moment(since))
    return [each for each in report.measured(connection, span, by_class=True) if each.source]


def _sizes(found: Sequence[report.Measured]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for each in found:
        if each.measure == SHOWN[0]:
            sizes[each.source] = sizes.get(each.source, 0) + each.estimate.observations
    return dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0])))


def _classes(
    connection: Connection,
    model: str,
    version: int | None,
    since: str,
    found: Sequence[report.Measured],
) -> list[ClassRow]:
    values: dict[str, dict[str, Estimate]] = {}
    for each in found:
        values.setdefault(each.class_label, {})[each.measure] = each.estimate
    decided = recent.decided(connection, model, version, since)
    return [ClassRow(each, values.get(each.label, {})) for each in decided]
