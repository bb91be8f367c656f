"""What every route needs: the worker's objects, and the documented shape of its refusals."""

from http import HTTPStatus
from importlib import metadata
from typing import Annotated, Any, cast

from fastapi import Depends, Path, Query, Request

from services.errors import MEDIA_TYPE
from services.wiring import Serving

PAGE = 100

Name = Annotated[str, Path(description="Of a model in the registry.", examples=["digits"])]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=PAGE, description="Most items on the page.")]


def serving_of(request: Request) -> Serving:
    """Return the objects that the gateway connected when this worker started."""
    return cast("Serving", request.app.state.serving)


Connected = Annotated[Serving, Depends(serving_of)]


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
