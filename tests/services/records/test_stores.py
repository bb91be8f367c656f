"""A store that cannot be reached is not the same as none."""

import pytest

from audit.errors import StoreError
from services.records.stores import StoreReader
from tests import stores
from tests.entries import prediction


@pytest.fixture
def reader(tmp_path):  # noqa: ANN201 - a fixture
    made = StoreReader(f"sqlite:///{tmp_path / 'audit.db'}", tmp_path / "anchors")
    yield made
    made.close()


def test_before_the_first_auditor_there_is_none(reader, tmp_path) -> None:
    assert reader() is None
    (tmp_path / "audit.db").touch()  # the auditor has begun to make it
    assert reader() is None
    assert reader.trouble == ""
    with pytest.raises(StoreError, match="no audit store yet"):
        reader.require()


def test_it_is_read_as_soon_as_it_is_made(reader, tmp_path) -> None:
    assert reader() is None
    store = stores.make(reader.url, tmp_path)
    store.add(prediction(1))

    assert reader.require().prediction(prediction(1).event_id) is not None
    assert reader() is reader()
    assert reader.trouble == ""
    store.ledger.engine.dispose()


def test_one_that_was_there_and_is_gone_is_told(reader, tmp_path) -> None:
    store = stores.make(reader.url, tmp_path)
    store.add(prediction(1))
    store.ledger.engine.dispose()
    for each in tmp_path.glob("audit.db*"):
        each.unlink()

    with pytest.raises(StoreError, match="was there and is gone: its file"):
        reader()
    (tmp_path / "audit.db").touch()
    with pytest.raises(StoreError, match="was there and is gone: its database is empty"):
        reader()
    assert "is gone" in reader.trouble
    assert StoreReader(reader.url)() is None  # who knows of no anchors


def test_one_that_does_not_answer_is_told(reader, tmp_path) -> None:
    (tmp_path / "audit.db").write_bytes(b"this is no database" * 100)

    with pytest.raises(StoreError, match="does not answer"):
        reader()
    assert "does not answer" in reader.trouble


def test_one_that_stops_answering_is_told(reader, tmp_path) -> None:
    stores.make(reader.url, tmp_path).ledger.engine.dispose()
    assert reader.trouble == ""
    for each in tmp_path.glob("audit.db*"):
        each.write_bytes(b"this is no database" * 1000)

    assert "does not answer" in reader.trouble


def test_one_of_another_revision_is_told(reader, tmp_path) -> None:
    store = stores.make(reader.url, tmp_path)
    store.tamper("UPDATE alembic_version SET version_num = '0001'")
    store.ledger.engine.dispose()

    with pytest.raises(StoreError, match="revision 0001"):
        reader()


def test_a_server_that_is_not_there_is_told() -> None:
    if (reason := stores.missing_postgresql()) is not None:
        pytest.skip(reason)
    away = StoreReader("postgresql://nobody@/none?host=/nowhere")

    with pytest.raises(StoreError, match="does not answer"):
        away()
