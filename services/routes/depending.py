"""What every route needs: the worker's objects, and the documented shape of its refusals."""

import re
from datetime import datetime
from http import HTTPStatus
from importlib import metadata
from typing import Annotated, Any, cast

from fastapi import Depends, Path, Query, Request
from pydantic import BeforeValidator

from services.access import principals
from services.access.principals import LOCAL, Principal
from services.errors import MEDIA_TYPE, ForbiddenError
from services.wiring import Serving

PAGE = 100
_DATED = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d.*")


def _dated(text: str) -> str:
    """Refuse numbers: pydantic alone would read "0.5" as half a second after 1970."""
    if not _DATED.fullmatch(text):
        raise ValueError("a moment is written as 2026-05-04T12:00:00Z")
    return text


Moment = Annotated[datetime, BeforeValidator(_dated)]

Name = Annotated[str, Path(description="Of a model in the registry.", examples=["digits"])]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=PAGE, description="Most items on the page.")]


def serving_of(request: Request) -> Serving:
    """Return the objects that the gateway connected when this worker started."""
    return cast("Serving", request.app.state.serving)


Connected = Annotated[Serving, Depends(serving_of)]


def principal_of(serving: Connected) -> Principal:
    """Return whoever the door let in.

    Raises:
        ForbiddenError: If the request came past the door though there is a sign-in.
    """
    who = principals.current()
    if who is None and serving.settings.sign_in != "none":
        raise ForbiddenError("nobody has been let in")
    return who or LOCAL


Asking = Annotated[Principal, Depends(principal_of)]


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of error answers, all of the one shape."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


def installed_version() -> str:
    """Return the installed version of Rightly; "source" where it runs uninstalled."""
    try:
        return metadata.version("rightly")
    except metadata.PackageNotFoundError:
        return "source"
