"""Champion and candidate on the locked set, through the graphs that would answer."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from audit import localisation
from audit.outcomes import Outcomes
from audit.reliance import probes, probing
from audit.reliance.carrying import Lenders, carried
from audit.reliance.effects import Effect, effects
from models.preprocessing import region_on_grid
from models.runtime import LARGEST_BATCH, Session
from models.training.image_sets import ImageSet
from models.types import Prediction

_TIMED = 40  # answers per model
_SEED = 0  # who lends surroundings to whom
_SURROUNDINGS = ("painted", "exchanged", "reversed")
RELIANCE: Final[Mapping[str, Callable[[Sequence[Effect]], float]]] = {
    "any": lambda seen: float(any(each.flip for each in seen)),
    "swap": lambda seen: float(any(each.flip for each in seen if each.intervention == "swap")),
}
"""Ways to tell from the effects of all interventions on one image whether its answer flips."""
_MEASURE: Final = "any"
# Rows whose parts are tried, spread over the locked set: each costs up to 36 answers.
PARTS = 200


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
        name: np.full(len(rows), np.nan) for name in ("recall", "recall_chance", "mass", "entropy")
    }
    marked = relevant.any(axis=(1, 2))
    for row in np.flatnonzero(marked):
        heatmap = answers[row].heatmap
        found = localisation.measure(heatmap, region_on_grid(relevant[row], _grid(heatmap)))
        columns["recall"][row] = found.activation_recall
        columns["recall_chance"][row] = found.recall_chance
        columns["mass"][row] = found.relevance_mass
        columns["entropy"][row] = found.entropy
    probabilities = np.stack([each.probabilities for each in answers]).astype(np.float64)
    flip, surroundings = _changed(session, rows, irrelevant, probabilities)
    return Outcomes(
        model=model,
        dataset=rows.digest,
        classes=rows.classes,
        group_names=rows.group_names or rows.classes,
        units=units,
        labels=rows.labels,
        groups=rows.subpopulations,
        probabilities=probabilities,
        flip=flip,
        surroundings=surroundings,
        part_reliance=_carried(session, rows, irrelevant, probabilities),
        **columns,
    )


def _carried(
    session: Session,
    rows: ImageSet,
    irrelevant: NDArray[np.bool_],
    before: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return how well one irrelevant part carries each answer, of rows spread over the set."""
    found = np.full(len(rows), np.nan)
    shares = irrelevant.mean(axis=(1, 2))
    probed = np.flatnonzero((shares > 0) & (shares < 1))
    if not len(probed):
        return found
    some = probed[np.linspace(0, len(probed) - 1, min(PARTS, len(probed))).astype(np.intp)]
    asked = Lenders(rows.images[some].astype(np.uint8), ~irrelevant[some], before[some])
    found[some] = [
        np.nan if each is None else each.reliance
        for each in carried(lambda images: _probabilities(session, images), asked)
    ]
    return found


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
    """Return the figures for people: accuracy per group and surroundings, flips, recall, mass."""

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
        "surroundings": {name: mean(each) for name, each in found.surroundings.items()},
        "part_reliance": None if found.part_reliance is None else mean(found.part_reliance),
        "activation_recall": mean(found.recall),
        "relevance_mass": mean(found.mass),
    }


def _changed(
    session: Session,
    rows: ImageSet,
    irrelevant: NDArray[np.bool_],
    before: NDArray[np.float64],
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Return which right answers flip, and which answers are right in other surroundings.

    Whose surroundings a row gets is drawn by the labels, so that champion and candidate are asked
    the very same images. As in a scorecard a flip counts where the answer had been right.
    """
    flip = np.full(len(rows), np.nan)
    found = {name: np.full(len(rows), np.nan) for name in _SURROUNDINGS}
    shares = irrelevant.mean(axis=(1, 2))
    probed = np.flatnonzero((shares > 0) & (shares < 1))
    if len(probed) < 2:  # noqa: PLR2004  # nobody lends it surroundings
        return flip, found
    images, regions = rows.images[probed].astype(np.uint8), ~irrelevant[probed]
    labels = rows.labels[probed]
    donors = probing.choose_donors(labels, labels, own=True, seed=_SEED)
    others = probing.any_other(len(probed), seed=_SEED)
    asked = probing.changed(images, regions, images[donors], regions[donors], seed=_SEED)
    after = {name: _probabilities(session, each) for name, each in asked.items()}
    mixed = _probabilities(session, probes.swap(images, regions, images[others], regions[others]))
    seen = list(zip(*(effects(each, before[probed], after[each]) for each in after), strict=True))
    right = before[probed].argmax(axis=1) == labels
    flip[probed] = np.where(right, [RELIANCE[_MEASURE](each) for each in seen], np.nan)
    for name, answered in zip(_SURROUNDINGS, (after["fill"], mixed, after["swap"]), strict=True):
        found[name][probed] = answered.argmax(axis=1) == labels
    found["reversed"][probed[labels[donors] == labels]] = np.nan
    return flip, found


def _probabilities(session: Session, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.stack([each.probabilities for each in _predict(session, images)]).astype(np.float64)


def _predict(session: Session, images: NDArray[np.uint8]) -> list[Prediction]:
    return [
        each
        for start in range(0, len(images), LARGEST_BATCH)
        for each in session.predict(images[start : start + LARGEST_BATCH])
    ]


def _grid(heatmap: NDArray[Any]) -> tuple[int, int]:
    return int(heatmap.shape[0]), int(heatmap.shape[1])
