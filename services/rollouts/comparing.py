"""What a candidate made of an image → its record in the audit trail."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np

from audit import localisation
from audit.comparisons import ComparisonRecord
from audit.errors import RegionError
from models.rollout import Rollout
from models.types import Prediction
from services.identifiers import identifier
from services.records.recording import AnswerEntry

_MEASURES = ("activation_recall", "relevance_mass")
_LONGEST = 500  # characters of a failure


class UnusableAnswerError(Exception):
    """The candidate answered, but with something that is no answer."""


def check_usable(predictions: Sequence[Prediction]) -> None:
    """Refuse answers that could not be given or recorded.

    Raises:
        UnusableAnswerError: If a number is not finite.
    """
    for each in predictions:
        for values in (each.probabilities, each.heatmap, each.embedding):
            if not np.isfinite(values).all():
                raise UnusableAnswerError("its numbers are not finite")


def failed(
    rollout: Rollout, model: str, error: object, *, prediction_id: str, now: datetime
) -> ComparisonRecord:
    """Return the record of an image that the candidate could not answer."""
    named = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else str(error)
    return ComparisonRecord(
        event_id=identifier(now),
        event_time=now,
        rollout_id=rollout.rollout_id,
        phase=rollout.phase,
        prediction_id=prediction_id,
        model=model,
        version=rollout.version,
        champion=rollout.champion,
        failure=" ".join(named.replace("\0", "").split())[:_LONGEST],
    )


def answered(
    rollout: Rollout,
    entry: AnswerEntry,
    *,
    milliseconds: float,
    champion_milliseconds: float | None,
    now: datetime,
) -> ComparisonRecord:
    """Return the record of an image that a canary has answered."""
    decided = entry.prediction.decided
    return ComparisonRecord(
        event_id=identifier(now),
        event_time=now,
        rollout_id=rollout.rollout_id,
        phase=rollout.phase,
        prediction_id=entry.prediction_id,
        model=entry.model.name,
        version=rollout.version,
        champion=rollout.champion,
        class_label=str(entry.classes[decided]),
        confidence=round(float(entry.prediction.probabilities[decided]), 6),
        milliseconds=milliseconds,
        champion_milliseconds=champion_milliseconds,
        subject=entry.subject,
    )


def compared(
    rollout: Rollout,
    entry: AnswerEntry,
    own: Prediction,
    *,
    milliseconds: float,
    champion_milliseconds: float,
    now: datetime,
) -> ComparisonRecord:
    """Return the record of an image that both have answered.

    Args:
        rollout: The trial.
        entry: The champion's answer.
        own: The candidate's.
        milliseconds: The candidate's time.
        champion_milliseconds: The champion's.
        now: When.
    """
    return ComparisonRecord(
        event_id=identifier(now),
        event_time=now,
        rollout_id=rollout.rollout_id,
        phase=rollout.phase,
        prediction_id=entry.prediction_id,
        model=entry.model.name,
        version=rollout.version,
        champion=rollout.champion,
        class_label=str(entry.classes[own.decided]),
        confidence=round(float(own.probabilities[own.decided]), 6),
        agrees=own.decided == entry.prediction.decided,
        measures=_measures(entry, own),
        champion_measures=_named(entry.measures),
        milliseconds=milliseconds,
        champion_milliseconds=champion_milliseconds,
        subject=entry.subject,
    )


def _measures(entry: AnswerEntry, own: Prediction) -> dict[str, float]:
    """Return the candidate's measures against the region that the answer was measured with."""
    if entry.region is None or own.heatmap.shape != entry.region.shares.shape:
        return {}
    try:
        found = localisation.measure(own.heatmap, entry.region.shares)
    except RegionError:
        return {}
    return {name: float(getattr(found, name)) for name in _MEASURES}


def _named(measures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(measures[name]) for name in _MEASURES if name in measures}
