"""Answers that more than one person reads, and what is known of where their evidence belongs."""

import math
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Query
from sqlalchemy.engine import Connection

from audit import canonical, readings, records
from audit.intervals import Estimate
from audit.store import queries, tables
from services import clock
from services.contract.audits import (
    Accepted,
    AgreementReply,
    ConflictReply,
    EstimateReply,
    KnownRegion,
    KnownRegions,
    ReadingReply,
    ReadingWish,
)
from services.contract.predictions import VersionNumber
from services.identifiers import identifier
from services.routes.depending import Asking, Connected, Name, refusals
from services.routes.predictions import Id, recorded

router = APIRouter(prefix="/v1", tags=["audit"])


@router.post(
    "/predictions/{prediction_id}/readings",
    summary="Ask for a second reader",
    status_code=202,
    responses=refusals(400, 404, 408, 413, 422, 429, 503),
)
def ask_reading(
    prediction_id: Id, wish: ReadingWish, serving: Connected, asking: Asking
) -> Accepted:
    """Put the answer into the queue of another person, who does not see the first verdict."""
    recorded(serving, prediction_id)
    now = clock.now()
    who = asking.actor(wish.actor)
    event = records.ReadingRequest(identifier(now), now, prediction_id, who, wish.reason)
    serving.recorder.note([event])
    return Accepted(event_id=event.event_id)


@router.get(
    "/predictions/{prediction_id}/regions",
    summary="Where evidence is expected",
    responses=refusals(404, 422, 503),
)
def known_regions(prediction_id: Id, serving: Connected) -> KnownRegions:
    """Return the regions that came with an answer or after it, on the heatmap's grid."""
    record = recorded(serving, prediction_id)
    found = {} if record.region is None else {record.region.source: record.region}
    store = serving.store()
    if store is not None:
        with store.connected() as connection:
            found |= _later(connection, prediction_id)
    return KnownRegions(
        items=[
            KnownRegion(
                source=each.source,
                origin=each.origin,
                area=each.area,
                grid=canonical.shares(each.shares).round(3).tolist(),
            )
            for each in found.values()
        ]
    )


@router.get(
    "/models/{model}/audit/agreement",
    summary="How far readers agree",
    responses=refusals(404, 409, 422, 503),
)
def agreement(
    model: Name,
    serving: Connected,
    version: Annotated[VersionNumber | None, Query(description="One version.")] = None,
) -> AgreementReply:
    """Return Cohen's kappa of two readers or Krippendorff's alpha of more, and open conflicts.

    Only readings that know nothing of each other count; the conflicts are those of all versions.
    """
    serving.registry.versions(model)
    with serving.store.require().connected() as connection:
        found = readings.of_model(connection, model, version)
        differing = readings.conflicts(connection, model)
    return AgreementReply(
        model=model,
        version=version,
        coefficient=found.coefficient or None,
        readers=found.readers,
        answers=found.items,
        observed=_estimate(found.observed),
        beyond_chance=_estimate(found.beyond_chance),
        conflicts=[
            ConflictReply(
                prediction_id=each.prediction_id,
                version=each.version,
                class_label=each.class_label,
                readings=[
                    ReadingReply(
                        actor=said.actor,
                        verdict=said.verdict,
                        label=said.label,
                        note=said.note,
                        at=said.event_time,
                    )
                    for said in each.readings
                ],
            )
            for each in differing
        ],
    )


def _later(
    connection: Connection, prediction_id: str
) -> dict[records.RegionSource, records.RegionEvidence]:
    """Return the last region of each source that arrived after the answer."""
    table = tables.measures
    measured = (
        sa.select(table.c.seq)
        .where(table.c.prediction_id == prediction_id, table.c.current)
        .distinct()
        .order_by(table.c.seq)
    )
    events = [queries.payload(connection, seq) for seq in connection.execute(measured).scalars()]
    return {
        each.region.source: each.region for each in events if isinstance(each, records.RegionEvent)
    }


def _estimate(found: Estimate | None) -> EstimateReply | None:
    if found is None or not math.isfinite(found.value):
        return None
    return EstimateReply(
        value=found.value,
        low=found.low,
        high=found.high,
        observations=found.observations,
        level=found.level,
    )
