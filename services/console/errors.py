"""What went wrong, as a page for somebody who looks at pages; programs get the problem itself."""

import json
from collections.abc import Mapping

from fastapi.responses import Response

from services.access.door import Scope, wants_page
from services.console import layout

# Status → what a person can do next.
NEXT: Mapping[int, str] = {
    403: "Somebody with that role can do it, or change yours.",
    404: "It may have been erased, or the address is mistyped.",
    429: "Wait a moment, then load the page again.",
    503: "Wait a moment, then load the page again.",
    500: "Load the page again; if it stays, the server's log says more.",
}
_OTHERS = "Go back and try it differently."


def dressed(scope: Scope, answer: Response) -> Response:
    """Return an error as a page where a browser asked for a page; else as it is.

    Args:
        scope: Of the request.
        answer: A problem (RFC 9457).
    """
    headers = dict(scope["headers"])
    fragment = headers.get(b"hx-request") == b"true"
    if fragment or not wants_page(scope, headers):
        return answer
    said = json.loads(bytes(answer.body))
    made = layout.page(
        "error.html",
        here="",
        status=answer.status_code,
        title=said["title"],
        detail=said["detail"],
        hint=NEXT.get(answer.status_code, _OTHERS),
    )
    made.status_code = answer.status_code
    kept = {"retry-after", "allow", "www-authenticate"}
    made.headers.update({k: v for k, v in answer.headers.items() if k in kept})
    return made
