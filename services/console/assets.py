"""Scripts, styles and pictures of the pages, served from the package itself.

An address with the digest of the file's content may be kept by the browser for ever; one without
is asked for again each time, and answered 304 while it is the same.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from services.routes.depending import refusals

router = APIRouter(tags=["pages"])

TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
_STATIC = files("services.console") / "static"
_DIGITS = 12  # of the digest in an address
_NOT_FOUND, _NOT_MODIFIED = 404, 304


@dataclass(frozen=True, slots=True)
class Asset:
    """One file.

    Attributes:
        content: Its bytes.
        kind: Its media type.
        digest: Beginning of its SHA-256 in hexadecimal.
    """

    content: bytes
    kind: str
    digest: str


@router.get(
    "/assets/{name}",
    summary="Script, style or picture of the pages",
    response_class=Response,
    responses={
        200: {"content": {kind: {"schema": {"type": "string"}} for kind in TYPES.values()}},
        **refusals(404, 422),
    },
)
def asset(
    name: Annotated[str, Path(max_length=100)],
    v: Annotated[str, Query(max_length=64, description="Digest of the content.")] = "",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Return the file."""
    found = everything().get(name)
    if found is None:
        raise HTTPException(_NOT_FOUND, f"no asset is called {name!r}")
    lasting = "public, max-age=31536000, immutable" if v == found.digest else "no-cache"
    headers = {"etag": f'"{found.digest}"', "cache-control": lasting}
    if if_none_match == headers["etag"]:
        return Response(status_code=_NOT_MODIFIED, headers=headers)
    headers["content-security-policy"] = "default-src 'none'"
    return Response(found.content, media_type=found.kind, headers=headers)


def address(name: str) -> str:
    """Return where a browser finds this version of a file.

    Raises:
        KeyError: If there is no such file.
    """
    return f"/assets/{name}?v={everything()[name].digest}"


@cache
def everything() -> dict[str, Asset]:
    """Return every file that may be served, by its name."""
    return dict(_walk(_STATIC))


def _walk(folder: Traversable) -> list[tuple[str, Asset]]:
    found = []
    for each in sorted(folder.iterdir(), key=lambda entry: entry.name):
        kind = TYPES.get("." + each.name.rpartition(".")[2])
        if each.is_dir():
            found += _walk(each)
        elif kind is not None:
            content = each.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:_DIGITS]
            found.append((each.name, Asset(content, kind, digest)))
    return found
