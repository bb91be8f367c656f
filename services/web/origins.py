"""Whether a request was made by another site's page in somebody's browser.

Browsers say which site a request comes from, and pages cannot change what they say. So a request
that changes something is refused when it comes from elsewhere: another site cannot promote a
model or acknowledge an alarm through the browser of somebody who can. Programs send neither
header and are not concerned.

References:
    W3C, "Fetch Metadata Request Headers"; RFC 6454, "The Web Origin Concept".
"""

import ipaddress
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from services.access.opening import is_loopback
from services.settings import Settings

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


def welcome(settings: Settings) -> Callable[[str], bool]:
    """Return what says whether a request's Host header names this server.

    A page of another site whose name suddenly leads to this machine would otherwise be, for the
    browser, a page of this server (DNS rebinding). It comes by a name, one that is not ours.
    """
    named = {each.strip().casefold() for each in settings.hosts.split(",") if each.strip()}
    public = urlsplit(settings.public_url).hostname
    named |= {public} if public else set()
    private = is_loopback(settings.host)
    if not private and not named:
        return lambda _: True

    def known(host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if not name or name in named or is_loopback(name) or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return not private

    return known
