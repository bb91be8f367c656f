"""Who may change something through a browser."""

import pytest

from services.web.origins import foreign

HOST = (b"host", b"models.example:3000")


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ([], False),
        ([(b"sec-fetch-site", b"same-origin")], False),
        ([(b"sec-fetch-site", b"none")], False),
        ([(b"sec-fetch-site", b"cross-site")], True),
        ([(b"sec-fetch-site", b"same-site")], True),
        ([(b"origin", b"http://models.example:3000")], False),
        ([(b"origin", b"http://models.example")], True),
        ([(b"origin", b"http://evil.example")], True),
        ([(b"origin", b"null")], True),
        # A browser that says both is believed about the site; a proxy may have changed the host.
        ([(b"sec-fetch-site", b"same-origin"), (b"origin", b"https://outside.example")], False),
    ],
)
def test_a_change_from_another_site_is_foreign(headers, refused) -> None:
    assert refused == foreign("POST", [HOST, *headers])


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_is_never_foreign(method) -> None:
    assert not foreign(method, [HOST, (b"sec-fetch-site", b"cross-site")])
