"""The API reference, drawn from `/openapi.json` by a script of our own."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from services.console import layout

router = APIRouter(tags=["pages"])


@router.get("/docs", summary="API reference", response_class=HTMLResponse)
def docs() -> HTMLResponse:
    """Show every route with its fields and answers."""
    return layout.page("reference.html", here="/docs")
