"""Whatever is done to the database, verification finds it; where nothing was done, nothing.

The tamperer of these tests can write every table, knows the format and repairs the head. What he
does not have are the chain key and the anchors.
"""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit import records
from audit.errors import StoreError
from audit.records import to_bytes
from audit.store import chain, connections, erasure, export, tables
from tests.entries import START, ids, prediction
from tests.stores import KEY, Store, make


@pytest.fixture
def filled(store: Store) -> Store:
    for number in range(1, 11):
        store.add(prediction(number))
    return store


def rewrite_head(store: Store) -> None:
    """Make the head fit the last event, as a careful tamperer does."""
    last = store.rows(tables.events)[-1]
    store.tamper(f"UPDATE head SET seq = {last.seq}, link = '{last.link}'")  # noqa: S608


def rechain(store: Store, *, key: bytes = b"guessed") -> None:
    """Make every link and seal anew, so that the chain is consistent in itself."""
    rows = sorted(store.rows(tables.events), key=lambda row: row.seq)
    before, statements = chain.GENESIS, []
    for row in rows:
        before = chain.link(before, row._mapping)
        sealed = chain.seal(key, before)
        statements.append(
            f"UPDATE events SET link = '{before}', seal = '{sealed}' WHERE seq = {row.seq}"  # noqa: S608
        )
    store.tamper(*statements)
    rewrite_head(store)


def test_an_untouched_store_is_intact(filled: Store) -> None:
    checked = filled.verify()

    assert checked.intact
    assert (checked.events, checked.head, checked.erased) == (10, 10, 0)
    assert checked.anchors > 1


def test_an_empty_store_is_intact(store: Store) -> None:
    assert store.verify().intact


@pytest.mark.parametrize(
    "column", ["source", "kind", "event_id", "event_time", "ingested_at", "commitment", "link"]
)
def test_an_edited_header_is_found(filled: Store, column: str) -> None:
    filled.tamper(f"UPDATE events SET {column} = 'not hex' WHERE seq = 4")  # noqa: S608

    assert "EDITED" in filled.found()


def test_an_edited_content_is_found(filled: Store) -> None:
    body = to_bytes(prediction(4)).replace(b"gradcam", b"Gradcam")
    with filled.ledger.engine.begin() as connection:
        changed = sa.update(tables.payloads).where(tables.payloads.c.seq == 4).values(body=body)
        connection.execute(changed)

    assert {"EDITED"} == filled.found()


def test_an_edited_content_with_its_commitment_and_chain_made_anew_is_found(filled: Store) -> None:
    body, secret = to_bytes(prediction(40)), b"s" * 32
    with filled.ledger.engine.begin() as connection:
        changed = sa.update(tables.payloads).where(tables.payloads.c.seq == 4)
        connection.execute(changed.values(body=body, secret=secret))
    filled.tamper(
        f"UPDATE events SET commitment = '{chain.commit(secret, body)}' WHERE seq = 4"  # noqa: S608
    )
    rechain(filled)

    assert {"EDITED", "INSERTED"} <= filled.found()


@pytest.mark.parametrize("column", ["class_label", "model", "event_time", "region_source"])
def test_an_edited_projection_is_found(filled: Store, column: str) -> None:
    filled.tamper(f"UPDATE predictions SET {column} = 'x' WHERE seq = 4")  # noqa: S608

    assert {"EDITED"} == filled.found()


@pytest.mark.parametrize("seq", [1, 4, 9])
def test_a_deleted_event_is_found(filled: Store, seq: int) -> None:
    filled.tamper(
        *(f"DELETE FROM {name} WHERE seq = {seq}" for name in _BY_SEQ)  # noqa: S608
    )

    assert "DELETED" in filled.found()


def test_a_deleted_event_is_found_though_the_rest_is_renumbered(filled: Store) -> None:
    statements = [f"DELETE FROM {name} WHERE seq = 4" for name in _BY_SEQ]  # noqa: S608
    for seq in range(5, 11):
        statements += [
            f"UPDATE {name} SET seq = {seq - 1} WHERE seq = {seq}"  # noqa: S608
            for name in _BY_SEQ
        ]
    filled.tamper(*statements)
    rechain(filled)

    assert filled.found() & {"EDITED", "RESTORED", "TRUNCATED"}


def test_a_deleted_content_is_found(filled: Store) -> None:
    filled.tamper("DELETE FROM payloads WHERE seq = 4")

    assert {"DELETED"} == filled.found()


def test_a_deleted_projection_is_found(filled: Store) -> None:
    filled.tamper("DELETE FROM predictions WHERE seq = 4")

    assert {"DELETED"} == filled.found()


def test_an_inserted_event_is_found(filled: Store) -> None:
    """One event more at the end, correctly linked, with the head moved along."""
    forged = Store(
        filled.url, type(filled.ledger)(filled.ledger.engine, b"guessed"), filled.anchors
    )
    anchored = [(path, path.read_bytes()) for path in filled.anchors.folder.iterdir()]
    forged.offset = 10_000
    forged.add(prediction(11))
    for path, content in anchored:
        path.write_bytes(content)

    assert {"INSERTED"} == filled.found()


def test_an_inserted_projection_is_found(filled: Store) -> None:
    row = dict(filled.rows(tables.predictions)[0]._mapping) | {"seq": 99, "prediction_id": "x"}
    with filled.ledger.engine.begin() as connection:
        connection.execute(sa.insert(tables.predictions).values(row))

    assert {"INSERTED"} == filled.found()


def test_two_swapped_events_are_found(filled: Store) -> None:
    for name in _BY_SEQ:
        filled.tamper(
            f"UPDATE {name} SET seq = 999 WHERE seq = 4",  # noqa: S608
            f"UPDATE {name} SET seq = 4 WHERE seq = 5",  # noqa: S608
            f"UPDATE {name} SET seq = 5 WHERE seq = 999",  # noqa: S608
        )

    assert "REORDERED" in filled.found()


def test_two_swapped_events_are_found_in_a_chain_made_anew(filled: Store) -> None:
    test_two_swapped_events_are_found(filled)
    rechain(filled)

    assert {"REORDERED", "EDITED"} <= filled.found()


def cut(store: Store) -> None:
    store.tamper(*(f"DELETE FROM {name} WHERE seq > 7" for name in _BY_SEQ))  # noqa: S608


def test_a_cut_off_end_is_found(filled: Store) -> None:
    cut(filled)

    assert "TRUNCATED" in filled.found()


def test_a_cut_off_end_is_found_though_the_head_is_moved(filled: Store) -> None:
    cut(filled)
    rewrite_head(filled)

    assert {"RESTORED"} == filled.found()


def test_without_anchors_a_cut_cannot_be_excluded_and_that_is_said(filled: Store) -> None:
    cut(filled)
    rewrite_head(filled)
    shutil.rmtree(filled.anchors.folder)

    assert {"UNANCHORED"} == filled.found()


def test_a_restored_backup_is_found_and_also_after_it_has_gone_on(tmp_path: Path) -> None:
    store = make(f"sqlite:///{tmp_path / 'audit.db'}", tmp_path)
    for number in range(1, 6):
        store.add(prediction(number))
    with store.ledger.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql(f"VACUUM INTO '{tmp_path / 'backup.db'}'")
    for number in range(6, 11):
        store.add(prediction(number))
    store.ledger.engine.dispose()
    for path in tmp_path.glob("audit.db*"):
        path.unlink()
    shutil.copy(tmp_path / "backup.db", tmp_path / "audit.db")
    assert {"RESTORED"} == store.found()

    for number in range(20, 30):
        store.add(prediction(number))
    assert {"EDITED"} == store.found()
    store.ledger.engine.dispose()


def test_the_anchors_of_another_store_do_not_vouch(filled: Store, tmp_path: Path) -> None:
    other = make(f"sqlite:///{tmp_path / 'other.db'}", tmp_path / "other")
    other.add(prediction(1))
    shutil.rmtree(filled.anchors.folder)
    shutil.copytree(other.anchors.folder, filled.anchors.folder)
    other.ledger.engine.dispose()

    assert "RESTORED" in filled.found()


def test_erased_content_that_is_back_is_found(store: Store) -> None:
    store.add(prediction(1, subject="p"))
    kept = dict(store.rows(tables.payloads)[0]._mapping)
    store.add(records.ErasureRequest("e", START, "dpo", "p"))
    with store.ledger.batch(now=START) as batch:
        erasure.erase_requested(batch, identify=ids(), forget=lambda _: ())
    with store.ledger.engine.begin() as connection:
        connection.execute(sa.insert(tables.payloads).values(kept))

    assert "UNERASED" in store.found()


def unpack(store: Store, folder: Path) -> Path:
    reader = connections.open_reader(store.url)
    export.export(reader, folder / "e.zip", anchors=store.anchors.read(), now=START)
    reader.dispose()
    with zipfile.ZipFile(folder / "e.zip") as bundle:
        bundle.extractall(folder / "bundle")
    return folder / "bundle"


def check(bundle: Path) -> subprocess.CompletedProcess[str]:
    """As a regulator does: Python alone, without this project."""
    return subprocess.run(
        [sys.executable, "-I", bundle / "check.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=bundle,
    )


def test_an_export_is_checked_without_us(filled: Store, tmp_path: Path) -> None:
    done = check(unpack(filled, tmp_path))

    assert (done.returncode, done.stdout) == (0, "intact: events 1 to 10, 0 erased\n")


@pytest.mark.parametrize("change", ["edit", "delete", "anchor"])
def test_a_changed_export_is_found(filled: Store, tmp_path: Path, change: str) -> None:
    bundle = unpack(filled, tmp_path)
    name = "anchors.jsonl" if change == "anchor" else "events.jsonl"
    kept = [json.loads(line) for line in (bundle / name).read_text().splitlines()]
    if change == "edit":
        kept[3]["body"] = kept[3]["body"].replace("gradcam", "Gradcam")
    elif change == "delete":
        del kept[3]
    else:
        kept[-1]["link"] = "0" * 64
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
    (bundle / name).write_text(text)
    done = check(bundle)

    assert done.returncode == 1
    assert {"edit": "content", "delete": "missing", "anchor": "anchor has"}[change] in done.stdout


def test_an_export_overwrites_nothing_and_leaves_no_half(filled: Store, tmp_path: Path) -> None:
    reader = connections.open_reader(filled.url)
    path = tmp_path / "e.zip"
    path.write_text("mine")
    with pytest.raises(StoreError, match="exists"):
        export.export(reader, path, anchors=[], now=START)
    assert path.read_text() == "mine"

    with pytest.raises(StoreError, match="no event"):
        export.export(reader, tmp_path / "f.zip", anchors=[], until=START, now=START)
    assert not (tmp_path / "f.zip").exists()
    reader.dispose()


_BY_SEQ = ("measures", "predictions", "payloads", "events")
assert KEY != b"guessed"
