"""The public types of what a retraining leaves to look at: its epochs, its data, its pairs."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from services.contract.predictions import Reply
from services.retraining import reading


class EpochReply(Reply):
    """The training after one epoch."""

    epoch: int
    epochs: int
    """As many will be trained."""
    share: float
    """Of all steps, in [0, 1]."""
    terms: dict[str, float]
    """Means of the loss terms in this epoch, with their sum as "total"."""
    validation: dict[str, float] = Field(default_factory=dict)
    """Measured on held-out rows."""
    seconds_left: float
    """Of the training, as far as can be told."""


class EpochsReply(Reply):
    """A training so far."""

    items: list[EpochReply]


class ProvenanceReply(Reply):
    """Where one added row comes from."""

    row: str
    """The prediction that it was."""
    model: str
    """Name and version that answered."""
    label: str
    labelled_by: str
    region_by: str = ""
    """Who said where the evidence is; empty where nobody did."""
    verdict: str = ""
    """Of the last review; empty without one."""


class QuarantineReply(Reply):
    """One answer that was kept out."""

    row: str
    """The prediction that it was."""
    reason: str


class DatasetReply(Reply):
    """What a retraining learns from."""

    digest: str
    base: dict[str, Any]
    """What the champion learnt from, and how many rows of it."""
    collected: int
    """Rows that came from recorded answers."""
    people: dict[str, int]
    """Collected rows per person who gave the label."""
    verdicts: dict[str, int]
    """Collected rows per verdict of their last review."""
    left_out: dict[str, int]
    """Answers that were kept out, by reason."""
    quarantined: list[QuarantineReply]
    """The first of these answers."""
    locked_units: int
    """Images or subjects of the locked set, which nobody learns from."""
    items: list[ProvenanceReply]
    """The first of the collected rows."""


class SideReply(Reply):
    """What one version says about an image."""

    label: str
    probability: float
    right: bool
    relevance_mass: float | None
    """Share of the heatmap in the region; null without one."""
    activation_recall: float | None
    grid: list[list[float]]
    """Grad-CAM for the decided class, in [0, 1], over the whole image."""


class PairReply(Reply):
    """One locked image, answered by both versions."""

    why: Literal["drawn", "mended", "broken"]
    """drawn: at random; mended: only the candidate is right; broken: only the champion is."""
    label: str
    """The true class."""
    group: str
    region: bool
    """Whether somebody marked where the evidence is."""
    champion: SideReply
    candidate: SideReply


class ComparisonReply(Reply):
    """Champion and candidate on the same images."""

    counts: dict[str, int]
    """Rows of the locked set: all of them, and by who is right."""
    pairs: list[PairReply]


_SHOWN = 200  # rows


def dataset(manifest: Mapping[str, Any]) -> DatasetReply:
    """Return a manifest as the public contract shows it."""
    rows = manifest["collected"]
    return DatasetReply(
        digest=manifest["digest"],
        base=manifest["base"],
        collected=len(rows),
        people=dict(reading.labels_of(rows, "labelled_by")),
        verdicts=dict(reading.labels_of(rows, "verdict")),
        left_out=manifest["left_out"],
        quarantined=[QuarantineReply(**each) for each in manifest.get("quarantined", [])[:_SHOWN]],
        locked_units=len(set(manifest["units"])),
        items=[
            ProvenanceReply(**{name: row[name] for name in ProvenanceReply.model_fields})
            for row in rows[:_SHOWN]
        ],
    )
