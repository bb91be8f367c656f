"""Regions for rows that nobody marked, by the segmenter that is attached to the model."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from models import segmenters
from models.attachments import Attachments
from models.registry import Version
from models.runtime import Session
from models.segmenters import Segmenter
from models.training.image_sets import ImageSet

_BATCH = 64


def segmenter_of(root: Path, model: str) -> Segmenter | None:
    """Return the segmenter that is attached to a model; None where none is.

    Args:
        root: The registry's folder.
        model: The model.

    Raises:
        CorruptVersionError: If its files are not what its card says.
    """
    attached = Attachments(root, "segmenter").current(model)
    return None if attached is None else segmenters.load(attached)


def marked(rows: ImageSet, segmenter: Segmenter) -> ImageSet:
    """Return the rows, those without a region marked by the segmenter.

    A row where it finds nothing, or nothing else, stays as it is; what a person marked stays too.
    """
    open_rows = np.flatnonzero(~rows.known)
    if not open_rows.size:
        return rows
    relevant, irrelevant = rows.masks(np.arange(len(rows)))
    known = rows.known.copy()
    for start in range(0, len(open_rows), _BATCH):
        chosen = open_rows[start : start + _BATCH]
        found = segmenter.regions(rows.images[chosen].astype(np.uint8))
        share = found.mean(axis=(1, 2))
        useful = (share > 0) & (share < 1)
        relevant[chosen[useful]] = found[useful]
        irrelevant[chosen[useful]] = ~found[useful]
        known[chosen[useful]] = True
    return replace(rows, relevant=relevant, irrelevant=irrelevant, annotated=known)


def has_relevance(version: Version) -> bool:
    """Whether layer-wise relevance, which TEA learns from, exists for a version's network."""
    return "lrp" in Session.open(version.folder, device="cpu", threads=1).explainers
