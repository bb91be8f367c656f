"""Where a browser goes after signing in: to a path of ours, never to another site."""

from urllib.parse import urlsplit

_FIRST_PRINTABLE = " "


def safe(target: str) -> str:
    r"""Return the path to go to; "/" for anything that a browser could take for another site.

    Browsers drop tabs and newlines from addresses and read a backslash as a slash, so such a
    target does not count either.

    Examples:
        >>> safe("/alarms?show=all")
        '/alarms?show=all'
        >>> safe("//elsewhere.example/"), safe("https://elsewhere.example/"), safe("/\\elsewhere")
        ('/', '/', '/')
    """
    odd = "\\" in target or any(each <= _FIRST_PRINTABLE for each in target)
    if odd or not target.startswith("/") or target.startswith("//"):
        return "/"
    try:
        parts = urlsplit(target)
    except ValueError:
        return "/"
    return "/" if parts.scheme or parts.netloc else target
