"""Every page of the console and what the pages load; `services/rest.py` mounts them."""

from collections.abc import Sequence

from fastapi import APIRouter

from services.console import assets, overview, reference, trying

ROUTERS: Sequence[APIRouter] = (
    overview.router,
    trying.router,
    reference.router,
    assets.router,
)
