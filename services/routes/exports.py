"""The trail for somebody who must be able to check without us."""

import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from audit import records
from audit.store import export
from audit.store.anchors import AnchorFolder
from services import clock
from services.errors import RequestError
from services.identifiers import identifier
from services.routes.depending import Asking, Connected, Moment, refusals

router = APIRouter(prefix="/v1/audit", tags=["audit"])

Since = Annotated[Moment | None, Query(description="First moment of ingestion.")]
Until = Annotated[Moment | None, Query(description="First moment that is left out.")]
_ZIP = "application/zip"


@router.get(
    "/export.zip",
    summary="The trail as a bundle that checks itself",
    response_class=FileResponse,
    responses={
        200: {"content": {_ZIP: {"schema": {"type": "string", "format": "binary"}}}},
        **refusals(404, 422, 503),
    },
)
def export_trail(
    serving: Connected, asking: Asking, since: Since = None, until: Until = None
) -> FileResponse:
    """Write everything that is not erased into one ZIP file, with a program that checks it.

    As `rightly audit export` does. That it was taken is written down.
    """
    for name, each in (("since", since), ("until", until)):
        if each is not None and each.tzinfo is None:
            raise RequestError(f"{name}: {each.isoformat()} has no time zone")
    reading, now = serving.store.require(), clock.now()
    folder = tempfile.TemporaryDirectory(prefix="rightly-export-")
    try:
        made = export.export(
            reading.engine,
            Path(folder.name) / "export.zip",
            anchors=AnchorFolder(serving.settings.anchors).read(),
            since=since,
            until=until,
            now=now,
        )
    except BaseException:
        folder.cleanup()
        raise
    details = {"first": str(made.first), "last": str(made.last), "sha256": made.digest}
    actor = asking.name or "console"
    taken = records.ActionEvent(identifier(now), now, "export", actor, details)
    serving.recorder.note([taken])
    return FileResponse(
        made.path,
        media_type=_ZIP,
        filename=f"rightly-audit-{made.first}-{made.last}.zip",
        background=BackgroundTask(folder.cleanup),
    )
