"""How often each class is decided, over time: drift of the class mix, a series of its own."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal, NamedTuple

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from audit import mixes
from audit.mixes import Answered
from models.errors import UnknownModelError
from models.registry import Version as Filed
from services.contract.audits import EstimateReply
from services.contract.predictions import Reply
from services.routes.audits import Since, Until, Version, estimate_reply, require_zone
from services.routes.depending import Connected, Name, refusals
from services.versions.references import class_counts

router = APIRouter(prefix="/v1/models/{model}/audit", tags=["audit"])


class ShareReply(Reply):
    """One class in one window."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, populate_by_name=True)

    class_label: str = Field(serialization_alias="class")
    estimate: EstimateReply
    """Its share of the answers, with Wilson's interval."""


class MixWindowReply(Reply):
    """One bucket of time."""

    start: datetime
    answers: int
    shares: list[ShareReply]


class MixReferenceReply(Reply):
    """What the mix is compared with."""

    origin: Literal["card", "traffic"]
    """card: the set that the version was measured on; traffic: the first answers."""
    observations: int
    shares: dict[str, float]
    """Class → share, of the classes shown."""


class MixVerdictReply(Reply):
    """Whether the mix has changed; it raises no alarm by itself."""

    state: Literal["steady", "changing", "changed", "unwatched"]
    statistic: float
    """The evidence after the last answer."""
    threshold: float
    """Where the mix counts as changed: answers to a false alarm, on average at least."""
    observations: int
    changed_at: datetime | None
    reason: str
    """Why nothing is watched; empty where it is."""


class ClassMixReply(Reply):
    """The mix of decided classes."""

    model: str
    version: int
    bucket: Literal["hour", "day", "month"]
    reference: MixReferenceReply | None
    verdict: MixVerdictReply
    windows: list[MixWindowReply]
    """Oldest first; of the latest 20,000 answers."""


class _Compared(NamedTuple):
    """The reference, and the answers that are compared with it."""

    origin: Literal["card", "traffic"]
    counts: Mapping[str, float]
    later: Sequence[Answered]


@router.get("/class-mix", summary="Drift of the class mix", responses=refusals(404, 409, 422, 503))
def class_mix(
    model: Name,
    serving: Connected,
    *,
    bucket: Annotated[
        Literal["hour", "day", "month"], Query(description="Length of a window.")
    ] = "day",
    version: Version = None,
    since: Since = None,
    until: Until = None,
    classes: Annotated[int, Query(ge=1, le=100, description="Most classes shown.")] = 20,
) -> ClassMixReply:
    """Return the share of each class per window, and whether the mix has changed.

    Another mix is no fault of the model, and moves no measure of its reasons; but what the answers
    are about has changed.
    """
    require_zone(since=since, until=until)
    number = version or serving.registry.pointer(model).version
    if number is None:
        raise UnknownModelError(f"{model} has no champion yet; name a version")
    filed = serving.registry.version(model, number)
    with serving.store.require().connected() as connection:
        answers = mixes.answered(connection, model, number, since=since, until=until)
    shown = mixes.most_frequent(answers, classes)
    compared = _compared(filed, answers)
    chosen = serving.settings
    verdict = mixes.judge(
        compared.later,
        compared.counts,
        threshold=chosen.false_alarm_days * chosen.records_per_day,
    )
    return ClassMixReply(
        model=model,
        version=number,
        bucket=bucket,
        reference=_reference(compared, shown),
        verdict=MixVerdictReply.model_validate(verdict, from_attributes=True),
        windows=[
            MixWindowReply(
                start=each.start,
                answers=each.answers,
                shares=[
                    ShareReply(class_label=label, estimate=estimate_reply(share))
                    for label, share in each.shares.items()
                ],
            )
            for each in mixes.windows(answers, shown, bucket)
        ],
    )


def _compared(filed: Filed, answers: Sequence[Answered]) -> _Compared:
    classes = filed.card.spec.classes
    known = [each for each in answers if each.label in classes]
    if (counts := class_counts(filed)) is not None:
        return _Compared("card", counts, known)
    first = Counter(each.label for each in known[: mixes.WARM_UP])
    return _Compared("traffic", {label: first[label] for label in classes}, known[mixes.WARM_UP :])


def _reference(compared: _Compared, shown: Sequence[str]) -> MixReferenceReply | None:
    total = sum(compared.counts.values())
    if not total:
        return None
    return MixReferenceReply(
        origin=compared.origin,
        observations=round(total),
        shares={label: compared.counts.get(label, 0.0) / total for label in shown},
    )
