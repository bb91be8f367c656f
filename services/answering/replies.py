"""What was computed or recorded → the answer in its public form."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from audit import canonical, records
from services.contract.predictions import (
    Answer,
    AuditReply,
    ClassProbability,
    ExplanationReply,
    ModelVersion,
    Options,
    TargetClass,
)
from services.pictures import overlays
from services.records.recording import AnswerEntry

# Digits after the point: finer than what differs from one machine to the next, and short.
_NUMBER_DIGITS, _GRID_DIGITS = 6, 4


def answer_of(
    entry: AnswerEntry,
    pixels: NDArray[np.uint8],
    heatmap: NDArray[np.float32],
    options: Options,
) -> Answer:
    """Return the answer to one image.

    Args:
        entry: What is written down about it.
        pixels: What the classifier saw, uint8 RGB [height, width, 3].
        heatmap: Of the explainer that was asked for, in [0, 1], [rows, columns].
        options: What was asked.
    """
    probabilities, target = entry.prediction.probabilities, entry.prediction.target
    order = np.argsort(-probabilities, kind="stable")[: options.top_k].tolist()
    drawn = overlays.data_url(overlays.blend(pixels, heatmap)) if options.overlay else None
    source = entry.region.source if entry.region else None
    return Answer(
        prediction_id=entry.prediction_id,
        answered_at=entry.now,
        model=_version(entry.model.name, entry.model.version, entry.model.digest),
        classes=[_rated(entry.classes[i], i, float(probabilities[i])) for i in order],
        explanation=ExplanationReply(
            explainer=named(entry, options.explainer),
            target=TargetClass(label=entry.classes[target], index=target),
            shape=(heatmap.shape[0], heatmap.shape[1]),
            grid=grid_of(heatmap),
            overlay=drawn,
        ),
        audit=_audit(source, entry.measures),
    )


def named(entry: AnswerEntry, asked: str) -> str:
    """Return the method of the map that is shown.

    An adopted version without a map of its own answers "gradcam" with "occlusion".
    """
    return entry.explainer.partition("/")[0] if asked == "gradcam" else asked


def answer_of_record(record: records.PredictionRecord) -> Answer:
    """Return the answer as it was recorded, with its Grad-CAM."""
    heatmap = canonical.shares(record.heatmap)
    return Answer(
        prediction_id=record.event_id,
        answered_at=record.event_time,
        model=_version(record.model.name, record.model.version, record.model.digest),
        classes=[_rated(each.label, each.index, each.probability) for each in record.classes],
        explanation=ExplanationReply(
            explainer=record.explainer.partition("/")[0],
            target=TargetClass(label=record.target.label, index=record.target.index),
            shape=(heatmap.shape[0], heatmap.shape[1]),
            grid=grid_of(heatmap),
        ),
        audit=_audit(record.region.source if record.region else None, record.measures),
    )


def grid_of(heatmap: NDArray[np.float32]) -> list[list[float]]:
    """Return a heatmap as nested lists, rounded."""
    rounded: list[list[float]] = np.round(heatmap.astype(np.float64), _GRID_DIGITS).tolist()
    return rounded


def _version(name: str, version: int, digest: str) -> ModelVersion:
    return ModelVersion(name=name, version=version, digest=digest)


def _rated(label: str, index: int, probability: float) -> ClassProbability:
    # Softmax in float32 may end a rounding above 1.
    shown = min(1.0, round(probability, _NUMBER_DIGITS))
    return ClassProbability(label=label, index=index, probability=shown)


def _audit(
    source: records.RegionSource | None, measures: Mapping[str, float]
) -> AuditReply | None:
    if source is None:
        return None
    return AuditReply(
        region_source=source,
        activation_recall=round(measures["activation_recall"], _NUMBER_DIGITS),
        relevance_mass=round(measures["relevance_mass"], _NUMBER_DIGITS),
        chance=round(measures["chance"], _NUMBER_DIGITS),
    )
