"""What the audit knows about a model, now and over time."""

import math
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from audit import report
from audit.intervals import Estimate
from services.contract.audits import (
    AuditSummary,
    CoverageReply,
    EstimateReply,
    MeasuredReply,
    ReviewedReply,
)
from services.contract.predictions import VersionNumber
from services.errors import RequestError
from services.routes.depending import Connected, Moment, Name, refusals

router = APIRouter(prefix="/v1/models/{model}/audit", tags=["audit"])

Version = Annotated[VersionNumber | None, Query(description="One version; all without it.")]
Since = Annotated[Moment | None, Query(description="The first moment, with a time zone.")]
Until = Annotated[Moment | None, Query(description="The first moment that is left out.")]
Word = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]


@router.get("", summary="What the audit knows", responses=refusals(404, 409, 422, 503))
def summary(
    model: Name,
    serving: Connected,
    *,
    version: Version = None,
    since: Since = None,
    until: Until = None,
    by: Annotated[Literal["model", "class"], Query(description="class: per class.")] = "class",
) -> AuditSummary:
    """Return every measure with its interval, per source of region, and what it rests on."""
    span = _span(model, version, since, until)
    serving.registry.versions(model)
    with serving.store.require().connected() as connection:
        found = report.measured(connection, span, by_class=by == "class")
        covered = report.coverage(connection, span)
        said = report.verdicts(connection, span)
        shares = report.reviewed(connection, span)
    return AuditSummary(
        model=model,
        version=version,
        coverage=CoverageReply(**asdict(covered)),
        measures=[
            MeasuredReply(
                measure=each.measure,
                source=each.source,
                class_label=each.class_label,
                estimate=estimate_reply(each.estimate),
            )
            for each in found
        ],
        verdicts=dict(said),
        reviewed=[
            ReviewedReply(
                verdict=each.verdict,
                random=estimate_reply(each.random) if each.random else None,
                weighted=estimate_reply(each.weighted),
            )
            for each in shares
        ],
    )


def require_zone(**moments: datetime | None) -> None:
    """Refuse moments without a time zone, by name.

    Raises:
        RequestError: If one has none.
    """
    for name, each in moments.items():
        if each is not None and each.tzinfo is None:
            raise RequestError(f"{name}: {each.isoformat()} has no time zone")


def _span(
    model: str, version: int | None, since: datetime | None, until: datetime | None
) -> report.Span:
    require_zone(since=since, until=until)
    return report.Span(model, version, since, until)


def estimate_reply(estimate: Estimate) -> EstimateReply:
    """Return an estimate as it is sent; what is not finite is not known."""
    return EstimateReply(
        value=estimate.value,
        low=estimate.low if math.isfinite(estimate.low) else None,
        high=estimate.high if math.isfinite(estimate.high) else None,
        observations=estimate.observations,
        level=estimate.level,
    )
