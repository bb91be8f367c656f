"""Regions by a segmenter: an ONNX model that says for each pixel whether it is relevant."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import providers
from models.errors import ModelsError, TrainingError
from models.training.image_sets import ImageSet

_BATCH = 32
_MAP_AXES = 4
_THRESHOLD = 0.5


def marked(splits: Mapping[str, ImageSet], segmenter: Path) -> dict[str, ImageSet]:
    """Return the sets with the regions that a segmenter finds, instead of their own.

    Args:
        splits: Sets of pixels.
        segmenter: ONNX file with one input, float32 [N, 3, H, W] in [0, 1], and one output,
            float32 [N, h, w] or [N, 1, h, w]: the probability that a pixel is relevant.

    Raises:
        TrainingError: If the file is no such model.
    """
    if not segmenter.is_file():
        raise TrainingError(f"there is no segmenter at {segmenter}")
    try:
        session = providers.open_graph(segmenter.read_bytes(), device="cpu", threads=0)
    except ModelsError as error:
        raise TrainingError(f"the segmenter {segmenter} cannot be loaded: {error}") from error
    if len(session.get_inputs()) != 1 or len(session.get_outputs()) != 1:
        raise TrainingError(
            f"the segmenter {segmenter} has {len(session.get_inputs())} inputs and "
            f"{len(session.get_outputs())} outputs, needed is one of each"
        )
    found = {}
    for name, rows in splits.items():
        regions = _regions(session, rows, segmenter)
        known = np.ones(len(rows), bool)
        found[name] = replace(rows, relevant=regions, irrelevant=~regions, annotated=known)
    return found


def _regions(session: Any, rows: ImageSet, segmenter: Path) -> NDArray[np.bool_]:  # noqa: ANN401  # onnxruntime is untyped
    """Return where the segmenter sees relevance, bool [M, H, W]."""
    name = session.get_inputs()[0].name
    regions = np.zeros(rows.images.shape[:3], bool)
    scale = 255 if rows.images.dtype == np.uint8 else 1
    for start in range(0, len(rows), _BATCH):
        part = slice(start, start + _BATCH)
        pixels = rows.images[part].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(scale)
        try:
            (answer,) = session.run(None, {name: pixels})
        except providers.runtime_errors() as error:
            raise TrainingError(f"the segmenter {segmenter} failed: {error}") from error
        values = np.asarray(answer)
        if values.ndim == _MAP_AXES and values.shape[1] == 1:
            values = values[:, 0]
        if values.ndim != _MAP_AXES - 1 or len(values) != len(pixels):
            raise TrainingError(
                f"the segmenter {segmenter} answers {list(np.shape(answer))}, needed is one map "
                f"for each of {len(pixels)} images"
            )
        for row, each in enumerate(values, start=start):
            regions[row] = _fitted(each > _THRESHOLD, regions.shape[1:])
    return regions


def _fitted(mask: NDArray[np.bool_], size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the mask at another size, each pixel the nearest one's."""
    if mask.shape == size:
        return mask
    return np.asarray(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST))
