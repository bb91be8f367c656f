"""What was written down before a request is waited for, and no longer than allowed."""

from pathlib import Path

from audit import records
from audit.journal import reader
from services import clock
from services.identifiers import identifier
from services.records import recording
from services.records.stores import StoreReader
from services.retraining.data import catching_up
from tests import stores


def test_the_store_is_waited_for_until_it_holds_what_the_journal_holds(tmp_path: Path) -> None:
    journal, url, now = tmp_path / "journal", f"sqlite:///{tmp_path / 'audit.db'}", clock.now()
    store = stores.make(url, tmp_path)
    recorder = recording.open_recorder(journal, source=identifier(now), key=b"key")
    recorder.note([records.ActionEvent(identifier(now), now, "access", "ann", {})])
    opened = StoreReader(url)
    reading = opened()
    assert reading is not None
    assert not catching_up.wait(journal, reading, 0.2)

    (source,) = reader.sources(journal)
    ((body, place),) = reader.read_source(journal, source, None)
    with store.ledger.batch(now=now) as batch:
        batch.ingest([(records.from_bytes(body), body, place)])
        batch.move_cursor(place)
    assert catching_up.wait(journal, reading, 0.0)

    recorder.note([records.ActionEvent(identifier(now), now, "access", "bob", {})])
    assert not catching_up.wait(journal, reading, 0.2)
    recorder.close()
    opened.close()
    store.ledger.engine.dispose()


def test_a_journal_that_holds_nothing_is_not_waited_for(tmp_path: Path) -> None:
    store = stores.make(f"sqlite:///{tmp_path / 'audit.db'}", tmp_path)
    opened = StoreReader(store.url)
    reading = opened()

    assert reading is not None
    assert catching_up.wait(tmp_path / "journal", reading, 0.0)
    opened.close()
    store.ledger.engine.dispose()
