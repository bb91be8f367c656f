"""Champion and candidate on the locked set, through the graphs that would answer."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit import localisation
from audit.outcomes import Outcomes
from audit.reliance import probing
from models.preprocessing import region_on_grid
from models.runtime import LARGEST_BATCH, Session
from models.training.image_sets import ImageSet
from models.types import Prediction

_TIMED = 40  # answers per model


def outcomes(
    session: Session, rows: ImageSet, units: NDArray[np.int64], *, model: str
) -> Outcomes:
    """Ask a version everything that the gate compares.

    Args:
        session: The version's graphs.
        rows: The locked set.
        units: What of it belongs together.
        model: What to call the version.
    """
    images = rows.images.astype(np.uint8)
    answers = _predict(session, images)
    relevant, irrelevant = rows.masks(np.arange(len(rows)))
    columns = {
        name: np.full(len(rows), np.nan)
        for name in ("flip", "recall", "recall_chance", "mass", "entropy")
    }
    marked = relevant.any(axis=(1, 2))
    for row in np.flatnonzero(marked):
        heatmap = answers[row].heatmap
        found = localisation.measure(heatmap, region_on_grid(relevant[row], _grid(heatmap)))
        columns["recall"][row] = found.activation_recall
        columns["recall_chance"][row] = found.recall_chance
        columns["mass"][row] = found.relevance_mass
        columns["entropy"][row] = found.entropy
    shares = irrelevant.mean(axis=(1, 2))
    probed = np.flatnonzero((shares > 0) & (shares < 1))
    if len(probed) > 1:
        seen = probing.probe(
            lambda changed: np.stack([each.probabilities for each in _predict(session, changed)]),
            images[probed],
            ~irrelevant[probed],
        )
        columns["flip"][probed] = [
            float(any(effect.flip for effect in seen.of(row))) for row in range(len(probed))
        ]
    return Outcomes(
        model=model,
        dataset=rows.digest,
        classes=rows.classes,
        group_names=rows.group_names or rows.classes,
        units=units,
        labels=rows.labels,
        groups=rows.subpopulations,
        probabilities=np.stack([each.probabilities for each in answers]).astype(np.float64),
        **columns,
    )


def latencies(sessions: Sequence[Session], image: NDArray[np.uint8]) -> list[float]:
    """Return the median milliseconds of one answer per session, asked in turn."""
    seconds: list[list[float]] = [[] for _ in sessions]
    for _ in range(_TIMED):
        for session, taken in zip(sessions, seconds, strict=True):
            before = perf_counter()
            session.predict(image[None])
            taken.append(perf_counter() - before)
    return [1000 * float(np.median(each)) for each in seconds]


def summary(found: Outcomes) -> dict[str, Any]:
    """Return the figures for people: accuracy per group, flip rate, recall, mass."""

    def mean(values: NDArray[np.floating]) -> float | None:
        known = values[~np.isnan(values)]
        return round(float(known.mean()), 4) if known.size else None

    return {
        "accuracy": mean(found.correct),
        "groups": {
            name: mean(found.correct[found.groups == number])
            for number, name in enumerate(found.group_names)
            if (found.groups == number).any()
        },
        "flip": mean(found.flip),
        "activation_recall": mean(found.recall),
        "relevance_mass": mean(found.mass),
    }


def _predict(session: Session, images: NDArray[np.uint8]) -> list[Prediction]:
    return [
        each
        for start in range(0, len(images), LARGEST_BATCH)
        for each in session.predict(images[start : start + LARGEST_BATCH])
    ]


def _grid(heatmap: NDArray[Any]) -> tuple[int, int]:
    return int(heatmap.shape[0]), int(heatmap.shape[1])
