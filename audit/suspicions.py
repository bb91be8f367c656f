"""Suspected shortcuts as they are written down: what a look at a class's heatmaps has found."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal, TypeAlias

from audit.canonical import Packed

# What a person makes of a suspicion; a later verdict supersedes an earlier one.
SuspicionVerdict: TypeAlias = Literal["open", "confirmed", "dismissed"]


@dataclass(frozen=True, slots=True)
class Suspected:
    """One group of answers whose heatmaps look alike.

    Attributes:
        suspicion_id: Stays while the group keeps its look, from one grouping to the next.
        size: How many answers are in the group.
        share: Share of the grouped answers, in (0, 1].
        heatmap: Mean heatmap of the group, each scaled to sum 1, "<f4" [rows, columns].
        focus: 0 for a group that looks everywhere, 1 for one cell.
        distance: How far it lies from the rest of the class: 0 for the same, 1 for no overlap.
        score: Geometric mean of both: how strongly it suggests a shortcut, in [0, 1].
        examples: Ids of the most typical answers, most typical first.
    """

    suspicion_id: str
    size: int
    share: float
    heatmap: Packed
    focus: float
    distance: float
    score: float
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SuspicionEvent:
    """The heatmaps of one class were grouped.

    Attributes:
        model: The model's name.
        version: Its version.
        class_label: The decided class of the answers.
        answers: How many heatmaps were grouped.
        eigengap: How clearly they fall into groups (`audit.clusters.Grouping`).
        groups: How many groups there are, those too small to be named included.
        found: The groups of at least `SMALLEST` answers, most suspicious first.
    """

    event_id: str
    event_time: datetime
    model: str
    version: int
    class_label: str
    answers: int
    eigengap: float
    groups: int
    found: tuple[Suspected, ...]
    subject: str | None = None
    kind: ClassVar[str] = "suspicion"
