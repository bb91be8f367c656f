"""People are told of alarms, refusals and promotions: over HTTP, to a receiver of our own."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from audit import records
from audit.store import connections
from audit.store.ledger import Ledger
from services.access import opening
from services.auditing import auditor, notifying
from services.identifiers import identifier
from services.records import recording
from services.records.stores import StoreReader
from services.settings import Settings, SettingsError

pytest.importorskip("apprise", reason="the extra `notify` is not installed")
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
# Apprise looks through all of its services at the first address, and one of them is of old ways.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@dataclass
class Receiver:
    """A webhook that writes down what it gets, and fails as often as it is told."""

    url: str = ""
    failures: int = 0
    got: list[dict[str, Any]] = field(default_factory=list)

    def wait_for(self, number: int) -> list[dict[str, Any]]:
        end = time.monotonic() + 60
        while len(self.got) < number and time.monotonic() < end:
            time.sleep(0.05)
        return self.got


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if made.failures > 0:
                made.failures -= 1
                self.send_response(500)
            else:
                made.got.append(json.loads(body))
                self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the tests quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    made.url = f"json://127.0.0.1:{server.server_address[1]}/hook"
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(connections.open_writer(f"sqlite:///{tmp_path / 'audit.db'}"), b"k" * 32)
    made.prepare(now=NOW)
    yield made
    made.engine.dispose()


def alarm(model: str = "digits", label: str = "3", state: str = "alarm") -> records.AlarmEvent:
    now = NOW + timedelta(seconds=1)
    evidence = {"value": 0.21, "observations": 74.0, "threshold": 12.0}
    return records.AlarmEvent(
        *(identifier(now), now, identifier(now), model, 1, "activation_recall", label, "low"),
        *("client", state, evidence, "auditor"),
    )


def action(name: Any, **details: str) -> records.ActionEvent:  # noqa: ANN401 - one of the literals
    return records.ActionEvent(identifier(NOW), NOW, name, "ada", {"model": "digits", **details})


def happened(ledger: Ledger, *events: records.Event) -> None:
    with ledger.batch(now=NOW) as batch:
        for each in events:
            batch.append(each)


def notifier(tmp_path: Path, url: str, link: str = "") -> notifying.Notifier:
    store = StoreReader(f"sqlite:///{tmp_path / 'audit.db'}")
    return notifying.Notifier(tmp_path, store, notifying.sender(url), link)


REFUSED = action("gate_result", retraining_id="R1", verdict="refused", reasons="accuracy fell")
PROMOTED = action("promotion", version="2", reason="looks at the digit")


def test_alarm_refusal_and_promotion_reach_a_webhook(
    tmp_path: Path, ledger: Ledger, receiver: Receiver
) -> None:
    stop = threading.Event()
    telling = notifier(tmp_path, receiver.url, "https://rightly.example")
    happened(ledger, alarm(label="0"))
    assert telling.look(stop) == 0, "what was before is no news"
    passed = action("gate_result", verdict="passed")
    drilled = alarm(model="digits (drill)")
    happened(ledger, alarm(), alarm(label="7"), drilled, alarm(state="closed"))
    happened(ledger, REFUSED, passed, PROMOTED)

    assert telling.look(stop) == 3
    assert telling.look(stop) == 0
    assert [(each["title"], each["type"]) for each in receiver.got] == [
        ("digits version 1: 2 alarms", "failure"),
        ("digits: a candidate is refused", "warning"),
        ("digits: version 2 answers", "success"),
    ]
    said = [each["message"] for each in receiver.got]
    assert "activation_recall of class 3 went low: 0.21 on 74 answers" in said[0]
    assert said[1] == (
        "The gate refused the candidate: accuracy fell.\nhttps://rightly.example/runs/R1"
    )
    assert said[2].startswith("ada: looks at the digit")


def test_another_auditor_goes_on_where_the_last_one_stood(
    tmp_path: Path, ledger: Ledger, receiver: Receiver
) -> None:
    stop = threading.Event()
    notifier(tmp_path, receiver.url).look(stop)
    happened(ledger, PROMOTED)

    assert notifier(tmp_path, receiver.url).look(stop) == 1
    assert notifier(tmp_path, receiver.url).look(stop) == 0


def test_a_receiver_that_fails_is_asked_again(
    tmp_path: Path, ledger: Ledger, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifying, "_PAUSES", (0.01, 0.01))
    telling, stop = notifier(tmp_path, receiver.url), threading.Event()
    telling.look(stop)
    happened(ledger, PROMOTED)
    receiver.failures = 2
    assert telling.look(stop) == 1

    happened(ledger, action("rollback", version="1", reason="it was worse"), REFUSED)
    receiver.failures = 3
    assert telling.look(stop) == 1, "given up, and the next one is told"
    assert receiver.got[-1]["title"] == "digits: a candidate is refused"


def test_the_auditor_tells_what_was_written_down(tmp_path: Path, receiver: Receiver) -> None:
    chosen = Settings(home=tmp_path, notify=receiver.url, audit_port=0, drill_hours=0)
    stop = threading.Event()
    thread = threading.Thread(target=auditor.run, args=(chosen, stop))
    thread.start()
    try:
        recorder = recording.open_recorder(chosen.journal, source=identifier(NOW), key=b"k" * 32)
        end = time.monotonic() + 60
        while not (tmp_path / "notified.json").exists() and time.monotonic() < end:
            time.sleep(0.05)
        recorder.note([REFUSED])
        recorder.close()
        (got,) = receiver.wait_for(1)
    finally:
        stop.set()
        thread.join()

    assert got["title"] == "digits: a candidate is refused"


def test_an_address_that_nobody_understands_is_refused_without_its_secret() -> None:
    with pytest.raises(SettingsError, match=r"address 2 \(slakc://…\)") as caught:
        opening.check(Settings(notify="json://localhost/hook slakc://TOKEN/SECRET"))

    assert "SECRET" not in str(caught.value)
    assert "SECRET" not in repr(Settings(notify="slack://SECRET"))
    opening.check(Settings(notify="json://localhost/hook"))
