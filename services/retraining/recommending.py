"""Which recipe to propose before the data are collected, from what the store and the card tell.

The rule is `choosing.choose`'s; here it is asked with what is known without reading any image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import TrainingError
from services.retraining import choosing
from services.retraining.teaching import Teacher
from services.versions.references import FIELD

_LOCATED = "activation_recall"
_NOTHING = (
    "nothing is known yet that could be learnt from: send a region with some answers, or review "
    "one with the right reason and one with the wrong reason"
)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A recipe to begin with.

    Attributes:
        objective: Its name; "auto" where nothing speaks for one.
        reason: What speaks for it, in a sentence.
    """

    objective: str
    reason: str


def recommend(
    measures: Mapping[str, Any],
    *,
    with_region: int,
    verdicts: Mapping[str, int],
    teacher: Teacher | None = None,
) -> Recommendation:
    """Propose a recipe for a model.

    Args:
        measures: Of the champion's card; a reference for Activation Recall shows that its own
            data have regions.
        with_region: Recorded answers with a region.
        verdicts: Reviews by verdict.
        teacher: Whom the change-control plan names; None for nobody.
    """
    reference = measures.get(FIELD)
    base = bool(reference.get(_LOCATED)) if isinstance(reference, Mapping) else False
    right, wrong = verdicts.get("right-reason", 0), verdicts.get("wrong-reason", 0)
    try:
        chosen = choosing.choose(
            "auto",
            annotated=with_region + base,
            rows=with_region + base,
            right=["one"] * right,
            wrong=["one"] * wrong,
            teacher=teacher,
            hyperparameters={},
        )
    except TrainingError:
        return Recommendation("auto", _NOTHING)
    if chosen.teacher is not None:
        return Recommendation(chosen.objective, chosen.reason)
    parts = []
    if base:
        parts.append("the data that the champion learnt from have regions")
    if with_region:
        parts.append(f"{with_region} recorded answers have one")
    if not parts:
        parts.append(
            f"no answer has a region, but {right} are reviewed as right for the right reason and "
            f"{wrong} for the wrong one"
        )
    return Recommendation(chosen.objective, ", and ".join(parts))
