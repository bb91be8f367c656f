"""Whether a request was made by another site's page in somebody's browser.

Browsers say which site a request comes from, and pages cannot change what they say. So a request
that changes something is refused when it comes from elsewhere: another site cannot promote a
model or acknowledge an alarm through the browser of somebody who can. Programs send neither
header and are not concerned.

References:
    W3C, "Fetch Metadata Request Headers"; RFC 6454, "The Web Origin Concept".
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN = frozenset({b"same-origin", b"none"})


def foreign(method: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether to refuse the request because another site's page made it.

    Args:
        method: Of the request.
        headers: Lower-case name and value, as ASGI has them.
    """
    if method in _SAFE:
        return False
    known = dict(headers)
    site = known.get(b"sec-fetch-site")
    if site is not None:
        return site not in _OWN
    origin = known.get(b"origin")
    if origin is None:
        return False
    return urlsplit(origin.decode("latin-1")).netloc != known.get(b"host", b"").decode("latin-1")
