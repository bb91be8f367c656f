"""Rows of an image set as tensors: batches in a reproducible order."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from models.training.image_sets import ImageSet
from models.training.objectives import Batch


def batch_of(rows: ImageSet, chosen: NDArray[np.int64]) -> Batch:
    """Return the chosen rows as one batch on the CPU."""
    pixels = torch.from_numpy(np.ascontiguousarray(rows.images[chosen].transpose(0, 3, 1, 2)))
    relevant, irrelevant = rows.masks(chosen)
    return Batch(
        images=pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels,
        labels=torch.from_numpy(rows.labels[chosen]),
        relevant=torch.from_numpy(relevant),
        irrelevant=torch.from_numpy(irrelevant),
        annotated=torch.from_numpy(rows.known[chosen]),
        rows=torch.from_numpy(chosen),
        groups=torch.from_numpy(rows.subpopulations[chosen]),
    )


def epoch_order(count: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order of `count` rows in one epoch; seed and epoch alone decide it."""
    return np.random.default_rng([seed, epoch]).permutation(count).astype(np.int64)


def batches(
    rows: ImageSet, size: int, *, order: NDArray[np.int64] | None = None
) -> Iterator[Batch]:
    """Yield all rows in batches of `size`; the last may be smaller.

    Args:
        rows: The set to read.
        size: Rows per batch.
        order: Rows to yield in this order; None means all as they stand.
    """
    chosen = np.arange(len(rows), dtype=np.int64) if order is None else order
    for start in range(0, len(chosen), size):
        yield batch_of(rows, chosen[start : start + size])
