"""Ask a classifier everything that a scorecard needs, and put the answers together."""

from dataclasses import fields
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audit import localisation
from audit.errors import EvaluationError
from audit.evaluation import interventions, resampling, sensitivity
from audit.evaluation.calibration import calibration_error
from audit.evaluation.interventions import Regional
from audit.evaluation.resampling import estimate, mean_of, worst_of
from audit.evaluation.scorecards import Focus, LabelledSet, Scorecard, Sensitivity
from audit.intervals import Estimate
from audit.localisation import Localisation
from audit.reliance.probing import Predictor


class Heatmaps(Protocol):
    """Anything that explains images: the served graph, or a fake."""

    def __call__(
        self, images: NDArray[np.uint8], targets: NDArray[np.int64], /
    ) -> NDArray[np.floating]:
        """Return heatmaps in [0, 1], [N, rows, columns], for uint8 images [N, H, W, 3]."""


def evaluate(
    predictor: Predictor,
    rows: LabelledSet,
    *,
    model: str,
    heatmaps: Heatmaps | None = None,
    explainer: str = "",
    seed: int = 0,
    level: float = 0.95,
    resamples: int = resampling.RESAMPLES,
) -> Scorecard:
    """Return a model's scorecard on one set.

    Args:
        predictor: The classifier.
        rows: What it is asked, with the truth.
        model: What to call it.
        heatmaps: Its explainer; without one nothing is said about where evidence lies.
        explainer: The explainer's name.
        seed: Of every draw.
        level: Confidence level of the intervals.
        resamples: How many resamples the intervals rest on.

    Raises:
        EvaluationError: If the classifier answers other classes than the set has.
    """
    probabilities = _answered(predictor, rows, model)
    decided = probabilities.argmax(axis=1)
    right = decided == rows.labels
    drawn = resampling.weights(len(right), rows.subjects, seed=seed, resamples=resamples)

    def per(groups: NDArray[np.int64], names: tuple[str, ...]) -> dict[str, Estimate]:
        return _per(right, drawn, groups, names, level)

    def whole(statistic: resampling.Statistic) -> Estimate:
        return estimate(statistic, drawn, level=level, observations=len(right))

    known = rows.measurable
    there = _regional(rows, known, drawn[:, known], level)
    around = interventions.measure(predictor, there, probabilities[known], seed=seed)
    return Scorecard(
        model=model,
        dataset=rows.name,
        explainer=explainer if heatmaps is not None else "",
        observations=len(right),
        accuracy=whole(mean_of(right)),
        per_class=per(rows.labels, rows.classes),
        per_group={} if rows.groups is None else per(rows.groups, rows.group_names),
        worst_class=whole(worst_of(right, rows.labels)),
        worst_group=None if rows.groups is None else whole(worst_of(right, rows.groups)),
        calibration_error=whole(calibration_error(probabilities.max(axis=1), right)),
        masked=around.masked,
        random_cue=around.random_cue,
        reversed_cue=around.reversed_cue,
        part_reliance=around.part_reliance,
        reliance=around.reliance,
        sensitivities=_sensitivities(predictor, there, seed) if known.size else (),
        focus=_focus(heatmaps, there, decided[known]) if heatmaps and known.size else None,
        level=level,
        seed=seed,
    )


def _answered(predictor: Predictor, rows: LabelledSet, model: str) -> NDArray[np.floating]:
    probabilities = predictor(rows.images)
    if probabilities.shape != (len(rows.labels), len(rows.classes)):
        raise EvaluationError(
            f"{model} answered {list(probabilities.shape)} for {len(rows.labels)} images of "
            f"{len(rows.classes)} classes"
        )
    return probabilities


def _per(
    right: NDArray[np.bool_],
    drawn: NDArray[np.int64],
    groups: NDArray[np.int64],
    names: tuple[str, ...],
    level: float,
) -> dict[str, Estimate]:
    """Return the accuracy in each group that has an image."""
    return {
        name: estimate(
            mean_of(right[groups == index]),
            drawn[:, groups == index],
            level=level,
            observations=int((groups == index).sum()),
        )
        for index, name in enumerate(names)
        if (groups == index).any()
    }


def _regional(
    rows: LabelledSet, known: NDArray[np.int64], drawn: NDArray[np.int64], level: float
) -> Regional:
    """Return the rows whose region is known."""
    regions = np.zeros((0, 1, 1), bool) if rows.regions is None else rows.regions[known]
    return Regional(rows.images[known], regions, rows.labels[known], drawn, level)


def _sensitivities(predictor: Predictor, rows: Regional, seed: int) -> tuple[Sensitivity, ...]:
    """Return RCS by both definitions."""
    found = []
    for definition in sensitivity.DEFINITIONS:
        kept, lost = (
            predictor(
                sensitivity.noised(rows.images, rows.regions, definition, core=core, seed=seed)
            ).argmax(axis=1)
            == rows.labels
            for core in (False, True)
        )
        found.append(
            Sensitivity(
                definition.name,
                rows.estimate(sensitivity.core_sensitivity(kept, lost)),
                rows.estimate(mean_of(kept)),
                rows.estimate(mean_of(lost)),
            )
        )
    return tuple(found)


def _focus(heatmaps: Heatmaps, rows: Regional, decided: NDArray[np.int64]) -> Focus:
    """Return where the heatmaps of the decided classes point."""
    maps = heatmaps(rows.images, decided)
    seen = [
        localisation.measure(heat, _on_grid(region, heat.shape))
        for heat, region in zip(maps, rows.regions, strict=True)
    ]
    names = [each.name for each in fields(Focus)]
    return Focus(**{name: rows.estimate(mean_of(_column(seen, name))) for name in names})


def _column(seen: list[Localisation], name: str) -> NDArray[np.float64]:
    return np.array([float(getattr(each, name)) for each in seen])


def _on_grid(region: NDArray[np.bool_], grid: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the share of each heatmap cell that a region covers, float64 [rows, columns]."""
    return _shares(region.shape[0], grid[0]) @ region @ _shares(region.shape[1], grid[1]).T


def _shares(pixels: int, cells: int) -> NDArray[np.float64]:
    """Return how much of each cell each pixel fills, [cells, pixels], rows summing to 1."""
    edges = np.arange(cells + 1) * pixels / cells
    start = np.maximum(edges[:-1, None], np.arange(pixels))
    end = np.minimum(edges[1:, None], np.arange(pixels) + 1)
    overlap: NDArray[np.float64] = np.clip(end - start, 0, None) * cells / pixels
    return overlap
