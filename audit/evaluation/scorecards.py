"""The values of an evaluation: a labelled set goes in, a scorecard comes out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.errors import EvaluationError
from audit.intervals import Estimate


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSet:
    """Images whose truth is known, as a classifier takes them.

    Attributes:
        name: For example "test" or "random cue".
        images: uint8 [N, H, W, 3].
        labels: Class indices, int64 [N].
        classes: Class labels in the order of the indices.
        regions: Where evidence is expected, bool [N, H, W]; None where nothing is known.
        annotated: Rows whose region is known, bool [N]; None means all, if there are regions.
        groups: Index of each row's subpopulation, int64 [N]; None where there are none.
        group_names: Names of the subpopulations in the order of the indices.
        subjects: Whom each row shows; rows of a subject are resampled together. None or "" means
            that a row stands for itself.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    regions: NDArray[np.bool_] | None = None
    annotated: NDArray[np.bool_] | None = None
    groups: NDArray[np.int64] | None = None
    group_names: tuple[str, ...] = ()
    subjects: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        rows = len(self.labels)
        if rows == 0:
            raise EvaluationError(f"the set {self.name!r} has no rows")
        for column in (self.images, self.regions, self.annotated, self.groups, self.subjects):
            if column is not None and len(column) != rows:
                raise EvaluationError(
                    f"the set {self.name!r} has {rows} labels, but a column of {len(column)}"
                )

    @property
    def measurable(self) -> NDArray[np.int64]:
        """Rows whose region is known and covers neither nothing nor everything."""
        if self.regions is None:
            return np.zeros(0, np.int64)
        shares = self.regions.reshape(len(self.labels), -1).mean(axis=1)
        known = (shares > 0) & (shares < 1)
        if self.annotated is not None:
            known &= self.annotated
        return np.flatnonzero(known).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Reliance:
    """How much answers rest on what is irrelevant: everything outside the region. Lower is better.

    Attributes:
        intervention: Which: "fill", "blur" or "swap".
        flip_rate: Share of the right answers that changed; None where none had been right.
        directed_flip_rate: Share of the right answers that became the label of the image whose
            surroundings were put there; None where no such label differs from the truth.
        probability_shift: Mean fall of the decided class's probability, over all answers.
    """

    intervention: str
    flip_rate: Estimate | None
    directed_flip_rate: Estimate | None
    probability_shift: Estimate


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Relative core sensitivity: does noise on the region hurt more than noise elsewhere?

    Attributes:
        definition: Which one: "salient-imagenet" or "robust-mlx".
        value: (aC - aS) / (2·min(ā, 1 - ā)) in [-1, 1]; higher relies more on the region.
        core_accuracy: aC, accuracy with everything but the region noised.
        spurious_accuracy: aS, accuracy with the region noised.
    """

    definition: str
    value: Estimate
    core_accuracy: Estimate
    spurious_accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Focus:
    """Where heatmaps of the decided class point, as means over rows with a region.

    Attributes:
        activation_recall: Mean evidence inside the region.
        recall_chance: Mean evidence of the whole map.
        activation_precision: Share of the active cells that lies inside, at 0.5.
        relevance_mass: Share of all evidence that lies inside.
        area: Share of the grid that regions cover: chance of precision, mass and pointing.
        iou: Of the active cells and the region.
        pointing: Share of rows whose strongest evidence lies inside.
        silent: Share of rows whose heatmap shows nothing.
    """

    activation_recall: Estimate
    recall_chance: Estimate
    activation_precision: Estimate
    relevance_mass: Estimate
    area: Estimate
    iou: Estimate
    pointing: Estimate
    silent: Estimate


@dataclass(frozen=True, slots=True)
class Scorecard:
    """What one model is worth on one set; every interval is a bootstrap over subjects.

    Attributes:
        model: What was evaluated, for example "lesions@3".
        dataset: The set's name.
        explainer: Whose heatmaps were measured; "" for none.
        observations: Rows of the set.
        accuracy: Share of right answers.
        per_class: Accuracy per class label.
        per_group: Accuracy per subpopulation; empty where the set names none.
        worst_class: The lowest accuracy of a class.
        worst_group: The lowest accuracy of a group; None where there are none.
        calibration_error: ECE over 15 bins of the top probability; lower is better.
        masked: Accuracy with everything but the region painted in one mean colour.
        random_cue: Accuracy with everything but the region taken from another row, drawn at
            random; None with fewer than two rows with a region.
        reversed_cue: Accuracy with everything but the region taken from a row of another label;
            None where no row has another.
        reliance: Per intervention (fill, blur, swap), over rows with a region.
        part_reliance: How well one part of what is irrelevant carries an answer into other images,
            in [0, 1], over at most 200 rows with a region; lower is better. None where there are
            none, or all are answered alike.
        sensitivities: RCS by both definitions.
        focus: Where heatmaps point; None without regions or explainer.
        level: Confidence level of every interval.
        seed: Of every draw.
    """

    model: str
    dataset: str
    explainer: str
    observations: int
    accuracy: Estimate
    per_class: Mapping[str, Estimate]
    per_group: Mapping[str, Estimate]
    worst_class: Estimate
    worst_group: Estimate | None
    calibration_error: Estimate
    masked: Estimate | None
    random_cue: Estimate | None
    reversed_cue: Estimate | None
    reliance: tuple[Reliance, ...]
    sensitivities: tuple[Sensitivity, ...]
    focus: Focus | None
    level: float
    seed: int
    part_reliance: Estimate | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the scorecard as plain values."""
        return asdict(self)
