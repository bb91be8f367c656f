"""What charts of a model are drawn from; bounded however long the model has answered."""

import math
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from audit import history
from audit.detectors.family import Series, Side
from audit.errors import UnknownRecordError
from audit.history import Selection
from audit.store import tallies
from audit.watch.trace import Point
from audit.watch.watched import Watched
from models.champion import Move
from models.errors import UnknownModelError
from services.contract.charts import (
    BandReply,
    DistributionList,
    DistributionReply,
    EvidencePoint,
    EvidenceReply,
    LimitReply,
    MarkReply,
    ReferenceReply,
    SeriesReply,
    WatchList,
    WatchReply,
    WindowReply,
)
from services.errors import RequestError
from services.routes.audits import Since, Until, Version, Word, estimate_reply, require_zone
from services.routes.depending import Connected, Name, refusals
from services.wiring import Serving

router = APIRouter(prefix="/v1/models/{model}/audit", tags=["audit"])

ClassLabel = Annotated[
    str | None,
    Query(alias="class", max_length=200, description="A decided class; all without it."),
]
Most = Annotated[int, Query(ge=2, le=history.MOST, description="Most points.")]
_LEAST = 1e-12  # of an e-value in a chart: its logarithm must be finite


@router.get("/series", summary="A measure over time", responses=refusals(404, 409, 422, 503))
def series(
    model: Name,
    serving: Connected,
    *,
    measure: Word = "activation_recall",
    source: Word = "client",
    class_label: ClassLabel = None,
    bucket: Annotated[
        Literal["hour", "day", "month"], Query(description="The finest buckets wanted.")
    ] = "hour",
    version: Version = None,
    since: Since = None,
    until: Until = None,
) -> SeriesReply:
    """Return a measure per hour, day or month of the answers, oldest first, with intervals."""
    require_zone(since=since, until=until)
    wanted = Selection(model, measure, source, version, _checked(class_label), since, until)
    serving.registry.versions(model)
    with serving.store.require().connected() as connection:
        taken, found = history.windows(connection, wanted, bucket)
    return SeriesReply(
        model=model,
        version=version,
        measure=measure,
        source=source,
        class_label=class_label or "",
        bucket=taken,
        points=[
            WindowReply(start=each.start, estimate=estimate_reply(each.estimate)) for each in found
        ],
    )


@router.get("/distribution", summary="Histograms", responses=refusals(404, 409, 422, 503))
def distribution(
    model: Name,
    serving: Connected,
    *,
    measure: Word = "relevance_mass",
    source: Word = "client",
    class_label: ClassLabel = None,
    version: Version = None,
) -> DistributionList:
    """Return how a measure is distributed, per version."""
    wanted = Selection(model, measure, source, version, _checked(class_label))
    serving.registry.versions(model)
    with serving.store.require().connected() as connection:
        found = history.distributions(connection, wanted)
    return DistributionList(
        model=model,
        measure=measure,
        source=source,
        class_label=class_label or "",
        edges=[number / tallies.BINS for number in range(tallies.BINS + 1)],
        versions=[
            DistributionReply(
                version=each.version,
                observations=each.mean.observations,
                mean=estimate_reply(each.mean),
                counts=[*each.counts],
            )
            for each in found
        ],
    )


@router.get("/watches", summary="Series under watch", responses=refusals(404, 409, 422, 503))
def watches(model: Name, serving: Connected, *, version: Version = None) -> WatchList:
    """List what the detectors of a version watch, the strongest evidence first."""
    number = _version(serving, model, version)
    with serving.store.require().connected() as connection:
        found = history.watches(connection, model, number)
    replies = [_watch(each) for each in found]
    return WatchList(items=sorted(replies, key=_strength, reverse=True))


@router.get("/evidence", summary="Evidence over time", responses=refusals(404, 409, 422, 503))
def evidence(
    model: Name,
    serving: Connected,
    *,
    measure: Word = "activation_recall",
    side: Side = Side.LOW,
    source: Word = "client",
    class_label: Annotated[Word, Query(alias="class")] = "",
    version: Version = None,
    most: Most = history.MOST,
) -> EvidenceReply:
    """Return the e-value and the CUSUM of one watch over time, with its alarms and promotions."""
    number = _version(serving, model, version)
    wanted = Series(model, number, measure, side, class_label, source)
    with serving.store.require().connected() as connection:
        found = history.watch(connection, wanted)
    if found is None:
        raise UnknownRecordError(f"{wanted} is not watched; `watches` lists what is")
    watched, points = found
    return EvidenceReply(
        watch=_watch(watched),
        points=[_point(each) for each in history.thinned(points, most)],
        marks=[
            MarkReply(at=step.at, state=step.state.value, actor=step.actor, reason=step.reason)
            for step in watched.alarm.steps[1:]
        ],
        bands=bands(serving.registry.pointer(model).history),
    )


def bands(history_of_moves: tuple[Move, ...]) -> list[BandReply]:
    """Return which version answered when, oldest first."""
    ends = [*(move.at for move in history_of_moves[1:]), None]
    return [
        BandReply.model_validate({"version": move.version, "since": move.at, "until": end})
        for move, end in zip(history_of_moves, ends, strict=True)
    ]


def _version(serving: Serving, model: str, version: int | None) -> int:
    """Return the version that is meant: the champion where none was named."""
    number = version or serving.registry.pointer(model).version
    if number is None:
        raise UnknownModelError(f"{model} has no champion yet; name a version")
    serving.registry.version(model, number)
    return number


def _checked(class_label: str | None) -> str | None:
    if "\0" in (class_label or ""):
        raise RequestError("class: no class has a NUL in its name")
    return class_label


def _watch(each: Watched) -> WatchReply:
    series, detector, drawn, known = each.series, each.detector, each.drawn, each.reference
    return WatchReply(
        alarm_id=each.alarm.alarm_id,
        model=series.model,
        version=series.version,
        measure=series.measure,
        class_label=series.class_label,
        side=series.side.value,
        source=series.source,
        state=each.alarm.state.value,
        observations=detector.observations if detector else len(each.warming),
        evidence=LimitReply(value=detector.statistic, threshold=detector.threshold)
        if detector
        else None,
        cusum=LimitReply(value=drawn.statistic, threshold=drawn.threshold) if drawn else None,
        reference=ReferenceReply(
            mean=known.mean,
            deviation=known.deviation,
            observations=known.observations,
            origin=each.origin,
        )
        if known
        else None,
        unwatchable=each.unwatchable,
    )


def _strength(watch: WatchReply) -> float:
    found = watch.evidence
    return found.value / found.threshold if found else -1.0


def _point(each: Point) -> EvidencePoint:
    return EvidencePoint(
        at=each.at,
        observations=each.observations,
        value=each.value,
        log10=math.log10(max(_LEAST, each.value)),
        peak=each.peak,
        cusum=each.cusum,
        cusum_peak=each.cusum_peak,
    )
