"""The front page and the API reference, drawn from `/openapi.json` by a script of our own."""

from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

router = APIRouter(tags=["pages"])

# Nothing from elsewhere, no inline script or style, no frame around it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"content-security-policy": POLICY, "referrer-policy": "no-referrer"}
_STATIC = files("services.console") / "static"


@router.get("/", summary="Front page", response_class=HTMLResponse)
async def front() -> HTMLResponse:
    """Say what runs here and where to go."""
    return HTMLResponse(_text("front.html"), headers=_HEADERS)


@router.get("/docs", summary="API reference", response_class=HTMLResponse)
async def docs() -> HTMLResponse:
    """Show every route with its fields and answers."""
    return HTMLResponse(_text("reference.html"), headers=_HEADERS)


@router.get(
    "/assets/reference.js",
    summary="Script of the API reference",
    response_class=Response,
    responses={200: {"content": {"text/javascript": {"schema": {"type": "string"}}}}},
)
async def script() -> Response:
    """Return the script that draws `/openapi.json`."""
    return Response(_text("reference.js"), media_type="text/javascript", headers=_HEADERS)


@router.get(
    "/assets/pages.css",
    summary="Style of these pages",
    response_class=Response,
    responses={200: {"content": {"text/css": {"schema": {"type": "string"}}}}},
)
async def style() -> Response:
    """Return the style sheet."""
    return Response(_text("pages.css"), media_type="text/css", headers=_HEADERS)


def _text(name: str) -> str:
    return (_STATIC / name).read_text("utf-8")
