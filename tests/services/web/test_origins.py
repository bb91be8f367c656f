"""Who may change something through a browser."""

import pytest

from services.settings import Settings
from services.web import origins
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


@pytest.mark.parametrize(
    ("settings", "host", "welcome"),
    [
        ({}, "localhost:3000", True),
        ({}, "LOCALHOST.", True),
        ({}, "127.0.0.1:3000", True),
        ({}, "[::1]:3000", True),
        ({}, "", True),
        ({}, "evil.example", False),
        ({}, "localhost.evil.example", False),
        ({}, "192.168.1.7", False),
        ({}, "[::1", False),
        ({"public_url": "https://rightly.example"}, "rightly.example", True),
        ({"hosts": "box, box.lan"}, "BOX.lan:3000", True),
        ({"host": "0.0.0.0"}, "gateway:3000", True),  # noqa: S104 - the point of the row
        ({"host": "0.0.0.0", "hosts": "gateway"}, "gateway:3000", True),  # noqa: S104 - as above
        ({"host": "0.0.0.0", "hosts": "gateway"}, "10.0.0.7:3000", True),  # noqa: S104 - as above
        ({"host": "0.0.0.0", "hosts": "gateway"}, "evil.example", False),  # noqa: S104 - as above
    ],
)
def test_only_its_own_names_reach_a_server(settings, host, welcome) -> None:
    """DNS rebinding: a foreign page whose name leads to this machine."""
    assert welcome == origins.welcome(Settings(**settings))(host)
