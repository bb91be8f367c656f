"""What one model answered on a locked set, row by row: the evidence that a gate compares."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from audit.errors import GateError

# What float32 softmax may add to 1.
_ROUNDING = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """One model's answers on a locked set that it never learnt from.

    Attributes:
        model: For example "digits@3".
        dataset: Digest of the set; two models are compared on one set only.
        classes: Class labels in the order of the probabilities.
        group_names: Names of the groups in the order of their indices.
        units: What is drawn as one in a resample, int64 [N]: rows of one image or subject
            share it.
        labels: True class, int64 [N].
        groups: Subpopulation, int64 [N].
        probabilities: float [N, classes].
        flip: Whether a right answer changed with the irrelevant part, float [N] in {0, 1}; NaN
            where the row was not probed, or the answer is wrong.
        recall: Activation recall in [0, 1], float [N]; NaN where no region is known.
        recall_chance: Mean of the whole heatmap in [0, 1], float [N]; NaN likewise.
        mass: Relevance mass in [0, 1], float [N]; NaN likewise.
        entropy: Entropy of the heatmap in [0, 1], 1 for a uniform one, float [N]; NaN likewise.
        surroundings: Whether the answer is right in other surroundings, by what was done to them
            ("painted", "exchanged", "reversed"), float [N] in {0, 1}; NaN where it was not asked.
        part_reliance: How well one part of what is irrelevant carries the answer into other
            images, in [0, 1], float [N]; NaN where the row was not probed. None where no row was.
    """

    model: str
    dataset: str
    classes: tuple[str, ...]
    group_names: tuple[str, ...]
    units: NDArray[np.int64]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    probabilities: NDArray[np.floating]
    flip: NDArray[np.floating]
    recall: NDArray[np.floating]
    recall_chance: NDArray[np.floating]
    mass: NDArray[np.floating]
    entropy: NDArray[np.floating]
    surroundings: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    part_reliance: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        rows = len(self.labels)
        if self.probabilities.shape != (rows, len(self.classes)) or rows == 0:
            raise GateError(
                f"{self.model}: probabilities {list(self.probabilities.shape)} for {rows} rows of "
                f"{len(self.classes)} classes"
            )
        measures = ["flip", "recall", "recall_chance", "mass", "entropy"]
        measures += [] if self.part_reliance is None else ["part_reliance"]
        for name in ("units", "groups", *measures):
            if getattr(self, name).shape != (rows,):
                raise GateError(f"{self.model}: {name} does not have {rows} rows")
        for name, each in self.surroundings.items():
            if each.shape != (rows,):
                raise GateError(f"{self.model}: {name} surroundings do not have {rows} rows")
        sums = self.probabilities.sum(axis=1)
        if not (np.abs(sums - 1) <= _ROUNDING).all():  # NaN must fail
            raise GateError(f"{self.model}: probabilities must sum to 1 in every row")
        for name in measures:
            values = getattr(self, name)
            known = values[~np.isnan(values)]
            if known.size and not (known.min() >= 0 and known.max() <= 1):
                raise GateError(f"{self.model}: {name} must lie in [0, 1]")

    @property
    def correct(self) -> NDArray[np.float64]:
        """1 where the most probable class is the true one, else 0, float64 [N]."""
        right: NDArray[np.bool_] = self.probabilities.argmax(axis=1) == self.labels
        return right.astype(np.float64)

    @property
    def beyond_chance(self) -> NDArray[np.float64]:
        """Activation recall beyond what a heatmap without a place would have, float64 [N]."""
        return np.asarray(self.recall - self.recall_chance, np.float64)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Probability of the decided class, float64 [N]."""
        return np.asarray(self.probabilities.max(axis=1), np.float64)

    def require_comparable(self, other: "Outcomes") -> None:
        """Refuse a comparison of answers to different questions.

        Raises:
            GateError: If set, rows, labels, groups or classes differ.
        """
        if self.dataset != other.dataset:
            raise GateError(
                f"{self.model} was evaluated on {self.dataset}, {other.model} on {other.dataset}"
            )
        same = (
            self.classes == other.classes
            and self.group_names == other.group_names
            and np.array_equal(self.labels, other.labels)
            and np.array_equal(self.groups, other.groups)
            and np.array_equal(self.units, other.units)
            and self.surroundings.keys() == other.surroundings.keys()
            and all(
                np.array_equal(np.isnan(each), np.isnan(other.surroundings[name]))
                for name, each in self.surroundings.items()
            )
        )
        if not same:
            raise GateError(f"{self.model} and {other.model} were not asked the same rows")
