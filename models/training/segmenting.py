"""Regions by a segmenter, the same kind of file that is attached to a served model."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import contract, segmenters
from models.errors import GraphRejectedError, ModelsError, TrainingError
from models.segmenters import Segmenter, Wish
from models.training.image_sets import ImageSet

_BATCH = 32


def marked(splits: Mapping[str, ImageSet], segmenter: Path) -> dict[str, ImageSet]:
    """Return the sets with the regions that a segmenter finds, instead of their own.

    Args:
        splits: Sets of uint8 pixels.
        segmenter: An ONNX file as `segmenters.check` describes it; sizes it leaves open become
            those of the images.

    Raises:
        TrainingError: If it cannot be used, or the sets hold no pixels.
    """
    if not segmenter.is_file():
        raise TrainingError(f"there is no segmenter at {segmenter}")
    found = {}
    try:
        content = contract.read_regular(segmenter, largest=segmenters.LARGEST)
        for name, rows in splits.items():
            if rows.images.dtype != np.uint8:
                raise TrainingError("a segmenter sees pixels, but the rows are tables")
            ready = _ready(content, segmenter.name, rows.images.shape[1:3])
            regions = _regions(ready, rows.images.astype(np.uint8, copy=False))
            known = np.ones(len(rows), bool)
            found[name] = replace(rows, relevant=regions, irrelevant=~regions, annotated=known)
    except ModelsError as error:
        raise TrainingError(f"the segmenter {segmenter} cannot be used: {error}") from error
    return found


def _ready(content: bytes, name: str, size: tuple[int, ...]) -> Segmenter:
    """Return the checked segmenter at its own size, or at `size` where it leaves that open."""
    try:
        spec = segmenters.check(content, name, Wish())
    except GraphRejectedError:
        spec = segmenters.check(content, name, Wish(size=(size[0], size[1])))
    return Segmenter(content, spec)


def _regions(segmenter: Segmenter, images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where the segmenter sees relevance, bool [M, H, W]."""
    starts = range(0, len(images), _BATCH)
    return np.concatenate([segmenter.regions(images[at : at + _BATCH]) for at in starts])
