"""A store on each database."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import stores


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    if (reason := stores.missing_postgresql()) is not None:
        pytest.skip(reason)
    # Not below pytest's folder: a socket's path is short, and the server's user must reach it.
    folder = Path(tempfile.mkdtemp(prefix="rightly-pg-"))
    folder.chmod(0o755)
    try:
        with stores.postgresql(folder / "pg") as url:
            yield url
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[stores.Store]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'audit.db'}"
    else:
        url = request.getfixturevalue("postgresql_url")
    made = stores.make(url, tmp_path)
    yield made
    made.ledger.engine.dispose()
