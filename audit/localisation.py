"""Where a heatmap points compared with where an expert expects evidence.

Every function takes a heatmap in [0, 1] and a region on the same grid. The region is boolean, or
the share of each cell that the region covers, in [0, 1]; a boolean region is the special case of
shares 0 and 1. Which formula and which scaling are meant, and why, is pinned in
`docs/decisions/0001-activation-recall.md`.

A heatmap of zeros is a legitimate answer (nothing speaks for the target); its recall, precision,
mass and IoU are 0, its entropy is 1, it points nowhere, and `Localisation.silent` says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from audit.errors import EmptyRegionError, HeatmapError, RegionError, RegionShapeError

THRESHOLD = 0.5
# Below this total a heatmap shows nothing (the limit that the energy-based pointing game uses).
SILENT = 1e-7
# What float32 arithmetic upstream may add to a value that means 1.
ROUNDING = 1e-6

Heatmap: TypeAlias = NDArray[np.floating]
Region: TypeAlias = NDArray[np.floating] | NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Localisation:
    """All localisation measures of one heatmap against one region.

    No single one is safe alone: a uniform heatmap has activation recall 1 and relevance mass equal
    to the region's area. Read each beside its chance level.

    Attributes:
        activation_recall: Mean evidence inside the region, in [0, 1].
        recall_chance: Mean evidence of the whole heatmap: the activation recall that a region
            placed at random would have on average.
        thresholded_recall: Share of the region that is active at `threshold`, in [0, 1].
        activation_precision: Share of the active cells that lies inside the region, in [0, 1].
        relevance_mass: Share of all evidence that lies inside the region, in [0, 1].
        area: Share of the grid that the region covers, in (0, 1]: the chance level of
            `relevance_mass` and of `activation_precision`.
        iou: Intersection over union of the active cells and the region, in [0, 1].
        pointing: Whether the strongest evidence lies inside the region.
        entropy: Spread of the evidence over the grid, from 0 (one cell) to 1 (uniform).
        threshold: A cell is active when its evidence is at least this.
        silent: Whether the heatmap shows no evidence anywhere.
    """

    activation_recall: float
    recall_chance: float
    thresholded_recall: float
    activation_precision: float
    relevance_mass: float
    area: float
    iou: float
    pointing: bool
    entropy: float
    threshold: float
    silent: bool

    @property
    def outside(self) -> float:
        """Share of all evidence outside the region, in [0, 1]; 1 for a silent heatmap."""
        return 1.0 - self.relevance_mass

    @property
    def mass_ratio(self) -> float:
        """Relevance mass over its chance level; 1 is what a uniform heatmap has."""
        return self.relevance_mass / self.area


def measure(heatmap: Heatmap, region: Region, *, threshold: float = THRESHOLD) -> Localisation:
    """Return every localisation measure of `heatmap` against `region`.

    Args:
        heatmap: Evidence in [0, 1], [rows, columns].
        region: Where evidence is expected, on the same grid: boolean, or share of each cell.
        threshold: A cell is active when its evidence is at least this; above 0, at most 1.

    Raises:
        HeatmapError: If the heatmap is not two-dimensional, or has values outside [0, 1].
        RegionShapeError: If the region has another shape.
        RegionError: If a share lies outside [0, 1].
        EmptyRegionError: If the region marks nothing.
        ValueError: If the threshold lies outside (0, 1].
    """
    heat, share = _checked(heatmap, region)
    return Localisation(
        activation_recall=_recall(heat, share),
        recall_chance=float(heat.mean()),
        thresholded_recall=_recall(_active(heat, threshold), share),
        activation_precision=_mass(_active(heat, threshold), share),
        relevance_mass=_mass(heat, share),
        area=float(share.mean()),
        iou=_iou(_active(heat, threshold), share),
        pointing=_points_inside(heat, share),
        entropy=_entropy(heat),
        threshold=threshold,
        silent=bool(heat.sum() < SILENT),
    )


def activation_recall(heatmap: Heatmap, region: Region) -> float:
    """Return Σ CAM·R / Σ R, the mean evidence inside the region; higher is better.

    Args and errors as in `measure`.

    References:
        Hagos, Curran, Mac Namee (2023), "Learning from Exemplary Explanations", equation (4);
        their A is our region R, their CAM our heatmap.
    """
    return _recall(*_checked(heatmap, region))


def thresholded_recall(heatmap: Heatmap, region: Region, *, threshold: float = THRESHOLD) -> float:
    """Return Σ [H ≥ q]·R / Σ R, the share of the region that is active; higher is better.

    The second reading of activation recall in the literature: a count of cells instead of their
    mean evidence. Args and errors as in `measure`.
    """
    heat, share = _checked(heatmap, region)
    return _recall(_active(heat, threshold), share)


def activation_precision(
    heatmap: Heatmap, region: Region, *, threshold: float = THRESHOLD
) -> float:
    """Return Σ [H ≥ q]·R / Σ [H ≥ q], the share of what is active inside; higher is better.

    Chance level: the region's area. Args and errors as in `measure`.

    References:
        Hagos, Curran, Mac Namee (2022), "Impact of Feedback Type on Explanatory Interactive
        Learning"; there the threshold is the heatmap's 95th percentile, here a fixed value, so
        that two heatmaps are compared on one scale.
    """
    heat, share = _checked(heatmap, region)
    return _mass(_active(heat, threshold), share)


def relevance_mass(heatmap: Heatmap, region: Region) -> float:
    """Return Σ H·R / Σ H, the share of all evidence inside the region; higher is better.

    Chance level: the region's area. Args and errors as in `measure`.

    References:
        Wang et al. (2020), "Score-CAM", the energy-based pointing game.
    """
    return _mass(*_checked(heatmap, region))


def pointing_game(heatmap: Heatmap, region: Region) -> bool:
    """Return whether the strongest evidence lies in cells that the region covers at least half.

    Where several cells share the maximum, all of them must, so that a uniform heatmap wins only if
    the region covers everything. Args and errors as in `measure`.

    References:
        Zhang et al. (2018), "Top-down Neural Attention by Excitation Backprop", without the
        tolerance of 15 pixels, which has no meaning on a coarse grid.
    """
    return _points_inside(*_checked(heatmap, region))


def iou(heatmap: Heatmap, region: Region, *, threshold: float = THRESHOLD) -> float:
    """Return Σ min([H ≥ q], R) / Σ max([H ≥ q], R); higher is better.

    Args and errors as in `measure`.
    """
    heat, share = _checked(heatmap, region)
    return _iou(_active(heat, threshold), share)


def heatmap_entropy(heatmap: Heatmap) -> float:
    """Return the Shannon entropy of the evidence over the grid, divided by its maximum.

    0 when one cell holds all evidence, 1 when all hold the same. A heatmap that grows diffuse
    raises its activation recall without pointing better; the entropy shows it.

    Raises:
        HeatmapError: If the heatmap is not two-dimensional, or has values outside [0, 1].
    """
    return _entropy(_checked_heatmap(heatmap))


def _checked(heatmap: Heatmap, region: Region) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    heat = _checked_heatmap(heatmap)
    share = np.asarray(region, np.float64)
    if share.shape != heat.shape:
        raise RegionShapeError(
            f"region of shape {share.shape} for a heatmap of shape {heat.shape}; "
            "put the region on the heatmap's grid first"
        )
    # Written so that NaN fails as well.
    if not (share.min() >= -ROUNDING and share.max() <= 1.0 + ROUNDING):
        raise RegionError(
            f"region shares from {share.min()} to {share.max()}; they must lie in [0, 1]"
        )
    share = share.clip(0.0, 1.0)
    if share.sum() < SILENT:
        raise EmptyRegionError("the region marks no cell, so nothing can be compared with it")
    return heat, share


def _checked_heatmap(heatmap: Heatmap) -> NDArray[np.float64]:
    heat = np.asarray(heatmap, np.float64)
    if heat.ndim != 2 or heat.size == 0:  # noqa: PLR2004 - rows and columns
        raise HeatmapError(f"heatmap of shape {heat.shape}; expected [rows, columns]")
    if not (heat.min() >= -ROUNDING and heat.max() <= 1.0 + ROUNDING):
        raise HeatmapError(
            f"heatmap values from {heat.min()} to {heat.max()}; scale them to [0, 1] first"
        )
    return heat.clip(0.0, 1.0)


def _active(heat: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold {threshold}; it must lie in (0, 1]")
    return (heat >= threshold).astype(np.float64)


def _recall(heat: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    # Rounding may lift a mean of ones by one unit in the last place.
    return min(1.0, float((heat * share).sum() / share.sum()))


def _mass(heat: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    total = float(heat.sum())
    if total < SILENT:
        return 0.0
    return min(1.0, float((heat * share).sum()) / total)


def _iou(active: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    return float(np.minimum(active, share).sum() / np.maximum(active, share).sum())


def _points_inside(heat: NDArray[np.float64], share: NDArray[np.float64]) -> bool:
    peak = heat.max()
    return bool(heat.sum() >= SILENT and (share[heat == peak] >= 0.5).all())  # noqa: PLR2004 - half


def _entropy(heat: NDArray[np.float64]) -> float:
    total = float(heat.sum())
    if total < SILENT or heat.size == 1:
        return 1.0
    shares = heat[heat > 0.0] / total
    return min(1.0, max(0.0, float(-(shares * np.log(shares)).sum() / np.log(heat.size))))


def measures_of(found: Localisation) -> Mapping[str, float]:
    """Return what is recorded of a localisation, by name."""
    return {
        "activation_recall": found.activation_recall,
        "relevance_mass": found.relevance_mass,
        "chance": found.area,
    }
