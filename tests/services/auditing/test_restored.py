"""An older copy of the store is put back: told, not anchored over, until a person accepts it."""

import itertools
import shutil
from pathlib import Path

from audit import records
from audit.journal.writer import Writer
from audit.store import connections, verification
from audit.store.anchors import RESTORED
from audit.store.ledger import Ledger
from services import secret
from services.auditing import auditor
from services.auditing.gauges import Gauges
from services.auditing.ingestion import Ingestion
from services.settings import Settings
from tests.entries import START, identifier, prediction

RUNS = itertools.count()


def opened(folder: Path) -> Ingestion:
    chosen = Settings(home=folder, probe_share=0.0, segment_share=0.0)
    ledger = Ledger(connections.open_writer(chosen.store), secret.secret_key(chosen.chain_key))
    work = auditor.connect(chosen, ledger)
    work.prepare(now=START)
    return work


def write(folder: Path, *entries: records.Entry) -> None:
    """As a worker does that ends at once."""
    with Writer(folder / "journal", f"w{next(RUNS):04d}") as journal:
        journal.append([records.to_bytes(each) for each in entries])


def copied(folder: Path, to: str, *, back: bool = False) -> None:
    source, target = ("audit.db", to) if not back else (to, "audit.db")
    for each in folder.glob("audit.db-*"):
        each.unlink()
    shutil.copy(folder / source, folder / target)


def test_a_restored_store_is_told_until_it_is_accepted(tmp_path: Path) -> None:
    work = opened(tmp_path)
    write(tmp_path, prediction(1))
    work.step(now=START)
    work.ledger.engine.dispose()
    copied(tmp_path, "backup.db")
    work = opened(tmp_path)
    assert work.restored == ""
    write(tmp_path, *map(prediction, (2, 3)))
    work.step(now=START)
    work.ledger.engine.dispose()
    copied(tmp_path, "backup.db", back=True)

    work, gauges = opened(tmp_path), Gauges()
    gauges.show(work, taken=0, head=work.head, now=START)
    assert "it ends at event 1, but" in work.restored
    assert gauges.registry.get_sample_value("audit_store_restored") == 1.0
    assert {RESTORED: work.restored} == auditor._failing(work)
    # It goes on ingesting, says so after a restart too, and the anchors stay as they were.
    write(tmp_path, prediction(4))
    work.step(now=START)
    assert 3 == max(each.seq for each in work.anchors.read())
    work.ledger.engine.dispose()
    work = opened(tmp_path)
    assert work.restored

    said = records.ActionEvent(
        identifier(9), START, "config_change", "ann", {"accepted": RESTORED, "reason": "a backup"}
    )
    write(tmp_path, said)
    work.step(now=START)
    gauges.show(work, taken=0, head=work.head, now=START)
    assert work.restored == ""
    assert gauges.registry.get_sample_value("audit_store_restored") == 0.0
    assert {} == auditor._failing(work)
    found = verification.verify(
        work.ledger.engine, key=work.ledger.key, anchors=work.anchors.read()
    )
    assert () == tuple(found.findings)
    assert 2 == len([*(tmp_path / "anchors").glob("*-*.json*")])
    work.ledger.engine.dispose()
    work = opened(tmp_path)
    assert work.restored == ""
    work.ledger.engine.dispose()


def test_a_store_that_is_exchanged_under_a_living_auditor_is_told(tmp_path: Path) -> None:
    work = opened(tmp_path)
    write(tmp_path, prediction(1))
    work.step(now=START)
    work.ledger.engine.dispose()
    copied(tmp_path, "backup.db")
    write(tmp_path, *map(prediction, (2, 3, 4)))
    work.step(now=START)
    work.ledger.engine.dispose()
    copied(tmp_path, "backup.db", back=True)
    write(tmp_path, prediction(5))
    work.step(now=START)

    assert "but had 4 a moment ago" in work.restored
    assert 4 == max(each.seq for each in work.anchors.read())
    work.ledger.engine.dispose()


def test_other_changes_of_the_configuration_accept_nothing(tmp_path: Path) -> None:
    work = opened(tmp_path)
    work.restored = "it ends at event 1"
    said = records.ActionEvent(identifier(9), START, "config_change", "ann", {"accepted": "x"})
    write(tmp_path, said)
    work.step(now=START)

    assert work.restored
    work.ledger.engine.dispose()
