"""Every page of the console and what the pages load; `services/web/rest.py` mounts them."""

from collections.abc import Sequence

from fastapi import APIRouter

from services.console import (
    alarms,
    assets,
    model,
    overview,
    record,
    reference,
    review,
    run,
    runs,
    signing_in,
    trail,
    trying,
)

ROUTERS: Sequence[APIRouter] = (
    overview.router,
    model.router,
    trying.router,
    review.router,
    alarms.router,
    runs.router,
    run.router,
    reference.router,
    trail.router,
    record.router,
    assets.router,
    signing_in.router,
)
