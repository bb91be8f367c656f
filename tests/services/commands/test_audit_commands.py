"""`rightly audit …` and `rightly drill`, as an operator uses them."""

import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from audit import records
from audit.journal.writer import Writer
from audit.store import connections, tables
from audit.store.ledger import Ledger
from services import clock, secret
from services.auditing import auditor
from services.commands.cli import app
from services.settings import Settings
from tests.entries import prediction
from tests.served import MODEL, registry_of_colours
from tests.services.routes.test_suspicions import answer as cornered


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    registry = registry_of_colours(tmp_path)
    monkeypatch.setenv("RIGHTLY_HOME", str(tmp_path))
    monkeypatch.setenv("RIGHTLY_REGISTRY", str(registry.root))
    monkeypatch.setenv("RIGHTLY_DEFAULT_MODEL", MODEL)
    monkeypatch.setenv("RIGHTLY_DEVICE", "cpu")
    monkeypatch.setenv("RIGHTLY_AUDIT_PORT", "0")
    return tmp_path


@pytest.fixture
def filled(home: Path) -> Path:
    with Writer(home / "journal", "w") as journal:
        for number in range(20):
            subject = "patient-1" if number % 2 else None
            journal.append([records.to_bytes(prediction(number, subject=subject))])
    drain(home)
    return home


@pytest.fixture
def audited(home: Path) -> Iterator[Path]:
    """With an auditor beside."""
    stop = threading.Event()
    chosen = Settings(home=home, registry=home / "registry", audit_port=0, audit_seconds=0.01)
    thread = threading.Thread(target=auditor.run, args=(chosen, stop))
    thread.start()
    yield home
    stop.set()
    thread.join()


def drain(home: Path) -> None:
    """Be the auditor for a moment."""
    ledger = Ledger(open_store(home), secret.secret_key(home / "chain.key"))
    work = auditor.connect(Settings(home=home), ledger)
    work.prepare(now=clock.now())
    while work.step(now=clock.now()):
        pass
    ledger.engine.dispose()


def open_store(home: Path) -> sa.Engine:
    return connections.open_writer(f"sqlite:///{home / 'audit.db'}")


def rightly(*words: str) -> Result:
    return CliRunner().invoke(app, words)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("verb", ["status", "verify"])
def test_without_a_store_it_says_so_in_one_line(verb) -> None:
    done = rightly("audit", verb)

    assert done.exit_code == 1
    assert "no audit store yet" in done.output


@pytest.mark.usefixtures("filled")
def test_status_counts() -> None:
    assert "20 events, 0 bytes" in rightly("audit", "status").output
    shown = json.loads(rightly("audit", "status", "--json").output)
    [verdict] = shown.pop("verdicts").values()
    assert shown == {"events": 20, "pending_bytes": 0, "alarms": []}
    assert "blind" == verdict["kind"], "no auditor is at work"


@pytest.mark.usefixtures("filled")
def test_an_untouched_trail_is_intact() -> None:
    done = rightly("audit", "verify")

    assert done.exit_code == 0
    assert "intact: 20 events" in done.output


def test_a_changed_trail_is_not(filled) -> None:
    engine = open_store(filled)
    with engine.begin() as connection:
        connection.execute(sa.delete(tables.payloads).where(tables.payloads.c.seq == 3))
    engine.dispose()
    done = rightly("audit", "verify", "--json")

    assert done.exit_code == 1
    assert json.loads(done.output)["findings"][0]["seq"] == 3


@pytest.mark.usefixtures("filled")
def test_an_export_can_be_checked_elsewhere(tmp_path) -> None:
    done = rightly("audit", "export", str(tmp_path / "bundle.zip"))
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        bundle.extractall(tmp_path / "bundle")
    checked = subprocess.run(
        [sys.executable, "-I", tmp_path / "bundle/check.py"],
        check=False,
        capture_output=True,
        text=True,
    )

    assert "events 1 to 20" in done.output
    assert checked.stdout == "intact: events 1 to 20, 0 erased\n"


@pytest.mark.parametrize("beside", [True, False])
def test_a_subject_is_erased_with_and_without_an_auditor(filled, beside, request) -> None:
    if beside:
        request.getfixturevalue("audited")
    done = rightly("audit", "erase", "patient-1", "--actor", "dpo")
    engine = open_store(filled)
    with engine.begin() as connection:
        left = connection.execute(sa.select(tables.payloads.c.subject)).scalars().all()
    engine.dispose()

    assert done.exit_code == 0, done.output
    assert "patient-1" not in left
    assert rightly("audit", "verify").exit_code == 0


def test_a_drill_raises_its_alarm_and_closes_it(audited) -> None:
    done = rightly("drill")
    again = rightly("drill")
    engine = open_store(audited)
    with engine.begin() as connection:
        alarms = connection.execute(sa.select(tables.alarms)).all()
        requests = connection.execute(sa.select(tables.requests)).all()
    engine.dispose()

    assert done.exit_code == 0, done.output
    assert again.exit_code == 0, again.output
    assert {f"{MODEL} (drill)"} == {row.model for row in alarms}
    assert [] == requests


@pytest.mark.usefixtures("home")
def test_a_drill_without_an_auditor_fails_and_says_why() -> None:
    done = rightly("drill", "--patience", "0.3")

    assert done.exit_code == 1
    assert "does an auditor run?" in done.output


def test_shortcuts_are_listed_judged_and_looked_for(home: Path) -> None:
    with Writer(home / "journal", "w") as journal:
        journal.append([records.to_bytes(cornered(n, cornered=n % 4 == 0)) for n in range(120)])
    drain(home)
    (first,) = json.loads(rightly("audit", "shortcuts", "--json").output)
    name = first["suspicion_id"]
    listed = rightly("audit", "shortcuts").output
    done = rightly("audit", "shortcuts", "--confirm", name, "--note", "a marker")
    rightly("audit", "shortcuts", "--search")
    drain(home)
    (again,) = json.loads(rightly("audit", "shortcuts", "--json").output)

    assert "30 of 120" in " ".join(listed.split())
    assert done.exit_code == 0
    assert (again["suspicion_id"], again["verdict"]) == (name, "confirmed")
    assert again["found_at"] > first["found_at"]


def test_a_shortcut_that_nobody_suspects_cannot_be_judged(filled: Path) -> None:
    done = rightly("audit", "shortcuts", "--dismiss", "0" * 26)

    assert filled.exists()
    assert done.exit_code == 1
    assert "no suspected shortcut" in done.output
