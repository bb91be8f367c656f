"""The first page: every model at a glance."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from services.console import layout

router = APIRouter(tags=["pages"])


@router.get("/", summary="Overview", response_class=HTMLResponse)
def overview() -> HTMLResponse:
    """Say what runs here."""
    return layout.page("overview.html", here="/")
