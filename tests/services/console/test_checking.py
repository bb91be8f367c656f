"""The verification that a page asks for: the command line's, one at a time, shared by workers."""

import fcntl
import json
import os
from datetime import UTC, datetime

import pytest

from audit.errors import StoreError
from audit.store import connections
from audit.store.anchors import AnchorFolder
from audit.store.ledger import Ledger
from services import secret
from services.console import checking
from services.errors import ConflictError
from services.records.stores import StoreReader
from services.settings import Settings
from tests.entries import START, prediction
from tests.stores import Store

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def now() -> datetime:
    return NOW


@pytest.fixture
def place(tmp_path) -> tuple[Settings, StoreReader, Store]:
    chosen = Settings(home=tmp_path)
    engine = connections.open_writer(chosen.store)
    ledger = Ledger(engine, secret.secret_key(chosen.chain_key))
    ledger.prepare(now=START)
    store = Store(chosen.store, ledger, AnchorFolder(chosen.anchors))
    store.add(*(prediction(number) for number in range(1, 30)))
    return chosen, StoreReader(chosen.store), store


def test_it_says_what_the_command_line_says(place) -> None:
    chosen, reader, store = place
    assert checking.last(chosen.home) is None
    checking.begin(chosen, reader, actor="ada", clock=now).join()
    whole = checking.last(chosen.home)
    store.tamper("UPDATE payloads SET body = X'00' WHERE seq = 7")
    checking.begin(chosen, reader, actor="bob", clock=now).join()
    changed = checking.last(chosen.home)

    assert ("ada", True, 29, 29, False) == (
        whole.actor,
        whole.intact,
        whole.events,
        whole.of,
        whole.running,
    )
    assert changed.intact is False
    assert changed.findings[0].startswith("Event 7: edited")


def test_one_runs_at_a_time_in_whatever_worker(place) -> None:
    chosen, reader, _ = place
    lock = os.open(chosen.home / checking.LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(ConflictError, match="under way"):
        checking.begin(chosen, reader, actor="ada", clock=now)
    os.close(lock)

    checking.begin(chosen, reader, actor="ada", clock=now).join()


def test_one_that_was_killed_does_not_run_for_ever(place) -> None:
    chosen, reader, _ = place
    checking.begin(chosen, reader, actor="ada", clock=now).join()
    file = chosen.home / checking.FILE
    said = json.loads(file.read_text()) | {"running": True, "done_at": "", "events": 5}
    file.write_text(json.dumps(said))
    found = checking.last(chosen.home)

    assert (False, "") == (found.running, found.done_at)
    assert 5 / 29 == found.share


def test_without_a_store_there_is_nothing_to_verify(tmp_path) -> None:
    chosen = Settings(home=tmp_path)
    with pytest.raises(StoreError):
        checking.begin(chosen, StoreReader(chosen.store), actor="ada", clock=now)
