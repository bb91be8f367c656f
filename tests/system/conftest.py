from collections.abc import Iterator

import pytest

from tests import served


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[served.Server]:
    """One server for all tests that leave its champion alone."""
    home = tmp_path_factory.mktemp("server")
    registry = served.registry_of_colours(home, 40.0, 20.0)
    with served.serve(home, registry, max_pixels=1_000_000, max_body_bytes=2_000_000) as running:
        yield running
