"""How an error leaves: a page for people, a problem for programs, with a word for v2 clients."""

import json

from starlette.responses import JSONResponse, Response

from services.access.door import Scope
from services.console import errors
from services.errors import MEDIA_TYPE

_PROTOCOL = "/v2/"


def dressed(scope: Scope, answer: Response) -> Response:
    """Return an error in the shape that whoever asked can read.

    Clients of the Open Inference Protocol look for a member `error`; a problem may have members
    beside its own (RFC 9457, section 3.2).

    Args:
        scope: Of the request.
        answer: A problem.
    """
    if not scope["path"].startswith(_PROTOCOL):
        return errors.dressed(scope, answer)
    said = json.loads(bytes(answer.body))
    kept = {
        name: value
        for name, value in answer.headers.items()
        if name not in {"content-length", "content-type"}
    }
    body = {**said, "error": said["detail"]}
    return JSONResponse(body, answer.status_code, kept, media_type=MEDIA_TYPE)
