"""What a version does while all is well, measured on held-out images when it is made.

The auditor compares live traffic with this, never with earlier traffic. Written into the card
under `references.FIELD` and beside it as `strangeness.safetensors`, before the version is filed.
"""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audit import localisation
from audit.detectors.reference import FEWEST, Reference
from audit.detectors.strangeness import FEWEST as FEWEST_EMBEDDINGS
from audit.detectors.strangeness import StrangenessReference
from audit.errors import BaselineError, ProbeError, RegionError
from audit.reliance import probing
from models import preprocessing
from models.cards import Json
from models.runtime import LARGEST_BATCH, Session
from models.types import Prediction
from services.versions.references import CLASS_MIX, STRANGENESS_FILE, strangeness_bytes

# Images that are probed: each costs four more answers, and up to 36 for its parts.
PROBED = 200
_DIGITS = 6
_Values = dict[str, dict[str, list[float]]]


def measure(
    folder: Path, images: NDArray[np.uint8], regions: NDArray[np.bool_] | None
) -> dict[str, Json]:
    """Measure a version that is about to be filed, and write its strangeness reference.

    Args:
        folder: With both graphs; gets `strangeness.safetensors` where there are images enough.
        images: Prepared held-out images that the training did not see, uint8 [N, H, W, 3].
        regions: Where evidence is expected, bool [N, H, W], all False where nobody said; None for
            no regions.

    Returns:
        Measure → decided class → [mean, deviation, observations]; classes with fewer than 30
        observations are left out. Under "class_mix" the mean is the class's share, of all.
    """
    session = Session.open(folder, device="cpu", threads=1)
    answers = [
        answer
        for start in range(0, len(images), LARGEST_BATCH)
        for answer in session.predict(images[start : start + LARGEST_BATCH])
    ]
    labels = [session.spec.classes[answer.decided] for answer in answers]
    values: _Values = defaultdict(lambda: defaultdict(list))
    for label, answer in zip(labels, answers, strict=True):
        values["confidence"][label].append(float(answer.probabilities.max()))
    if regions is not None:
        _locate(values, labels, answers, regions)
        _probe(values, labels, session, images, regions)
    _write_strangeness(folder, answers)
    counted = Counter(labels)
    mix: Json = {label: [count / len(labels), 0.0, count] for label, count in counted.items()}
    return {CLASS_MIX: mix} | {
        name: {
            label: _numbers(seen)
            for label, seen in sorted(by_class.items())
            if len(seen) >= FEWEST
        }
        for name, by_class in values.items()
    }


def _locate(
    values: _Values, labels: list[str], answers: list[Prediction], regions: NDArray[np.bool_]
) -> None:
    for label, answer, region in zip(labels, answers, regions, strict=True):
        rows, columns = answer.heatmap.shape
        try:
            shares = preprocessing.region_on_grid(region, (rows, columns))
            found = localisation.measure(answer.heatmap, shares)
        except RegionError:  # nobody said where evidence is
            continue
        for name, value in localisation.measures_of(found).items():
            values[name][label].append(value)


def _probe(
    values: _Values,
    labels: list[str],
    session: Session,
    images: NDArray[np.uint8],
    regions: NDArray[np.bool_],
) -> None:
    def ask(wanted: NDArray[np.uint8], /) -> NDArray[np.floating]:
        parts = range(0, len(wanted), LARGEST_BATCH)
        found = [session.predict(wanted[start : start + LARGEST_BATCH]) for start in parts]
        return np.stack([answer.probabilities for part in found for answer in part])

    covered = regions.reshape(len(regions), -1).mean(axis=1)
    chosen = np.flatnonzero((covered > 0.0) & (covered < 1.0))[:PROBED]
    if not len(chosen):
        return
    try:
        found = probing.probe(ask, images[chosen], regions[chosen])
    except ProbeError:  # one image alone has nobody to borrow surroundings from
        return
    for number, row in enumerate(chosen):
        if (part := found.carried[number]) is not None:
            values["part_reliance"][labels[row]].append(part.reliance)
        values["flip"][labels[row]].append(found.flip_share(number))
        for each in found.of(number):
            if each.directed_flip is not None:
                values["directed_flip"][labels[row]].append(float(each.directed_flip))


def _write_strangeness(folder: Path, answers: list[Prediction]) -> None:
    embeddings = np.stack([answer.embedding for answer in answers])
    half = len(embeddings) // 2
    if half < FEWEST_EMBEDDINGS:
        return
    try:
        # Every other one, so that an order in the set does not make the halves differ.
        fitted = StrangenessReference.fit(embeddings[::2], embeddings[1::2])
    except BaselineError:  # embeddings that never vary have no strangers
        return
    (folder / STRANGENESS_FILE).write_bytes(strangeness_bytes(fitted))


def _numbers(seen: list[float]) -> Json:
    reference = Reference.of(seen)
    rounded = [round(reference.mean, _DIGITS), round(reference.deviation, _DIGITS)]
    return [*rounded, reference.observations]
