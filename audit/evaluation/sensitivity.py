"""Relative core sensitivity in its two definitions, which must not be compared with each other.

References:
    Singla, Moayeri, Feizi (2022), "Core risk minimization using Salient ImageNet", RCS: Gaussian
    noise of deviation 0.25 on pixels in [0, 1], the region dilated 15 times by a kernel of 5.
    Heo, Piratla, Wicker, Weller (2023), "Use perturbations when learning from explanations": noise
    of deviation 2 on normalised pixels (0.45 on [0, 1] at the usual 0.225), no dilation.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.evaluation.resampling import Statistic

_FULL: Final = 255
_REFERENCE_SIDE: Final = 224


class Definition(NamedTuple):
    """How noise is put on and off the region.

    Attributes:
        name: Which definition.
        deviation: Of the noise, on pixels in [0, 1].
        dilation: Pixels by which the region grows on an image of 224 pixels, scaled with it.
    """

    name: str
    deviation: float
    dilation: int


DEFINITIONS: Final = (
    Definition("salient-imagenet", 0.25, 30),
    Definition("robust-mlx", 0.45, 0),
)


def noised(
    images: NDArray[np.uint8],
    regions: NDArray[np.bool_],
    definition: Definition,
    *,
    core: bool,
    seed: int,
) -> NDArray[np.uint8]:
    """Return the images with noise inside the region (`core`) or everywhere else, clamped."""
    side = min(images.shape[1:3])
    grown = dilated(regions, round(definition.dilation * side / _REFERENCE_SIDE))
    where = grown if core else ~grown
    draw = np.random.default_rng(seed)
    noise = draw.normal(0, definition.deviation * _FULL, images.shape)
    changed = np.clip(np.rint(images + noise), 0, _FULL).astype(np.uint8)
    return np.where(where[..., None], changed, images)


def dilated(regions: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Grow regions by a square of `radius` pixels to each side, bool [N, H, W]."""
    if radius <= 0:
        return regions
    grown = regions
    for axis in (1, 2):
        sums = np.cumsum(grown, axis=axis, dtype=np.int64)
        zero = np.zeros_like(np.take(sums, [0], axis=axis))
        sums = np.concatenate([zero, sums], axis=axis)
        size = grown.shape[axis]
        last = np.minimum(np.arange(size) + radius + 1, size)
        first = np.maximum(np.arange(size) - radius, 0)
        grown = np.take(sums, last, axis=axis) > np.take(sums, first, axis=axis)
    return grown


def core_sensitivity(
    core_right: NDArray[np.bool_], spurious_right: NDArray[np.bool_]
) -> Statistic:
    """Return RCS = (aC - aS) / (2·min(ā, 1 - ā)) as a statistic; 0 where ā is 0 or 1.

    Args:
        core_right: Whether each answer is right with noise off the region.
        spurious_right: Whether it is right with noise on the region.
    """
    core, spurious = core_right.astype(np.float64), spurious_right.astype(np.float64)

    def statistic(times: NDArray[np.int64]) -> float:
        total = times.sum()
        if not total:
            return float("nan")
        kept, lost = (times * core).sum() / total, (times * spurious).sum() / total
        room = min((kept + lost) / 2, 1 - (kept + lost) / 2)
        return float((kept - lost) / (2 * room)) if room > 0 else 0.0

    return statistic
