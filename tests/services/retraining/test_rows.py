"""The record: one active retraining per model, asked once per key, ended once."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.errors import ConflictError, ServiceError, UnknownRetrainingError
from services.identifiers import identifier
from services.retraining.rows import Approval, Request, Rows, connect, open_rows

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ASKED = Request("digits", "auto", "an alarm", "ann", hyperparameters={"epochs": 3})


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    with open_rows(f"sqlite:///{tmp_path / 'retrainings.db'}") as opened:
        yield opened


def test_a_retraining_is_read_back_as_it_was_asked(rows: Rows) -> None:
    made = rows.add("r1", ASKED, key="k", now=NOW)

    assert made.request == ASKED
    assert (made.status, made.key, made.created_at, made.ended) == ("queued", "k", NOW, False)
    assert [what for _, what in rows.events("r1")] == ["asked for by ann"]
    with pytest.raises(UnknownRetrainingError, match="no retraining 'r2'"):
        rows.get("r2")


def test_the_same_key_asks_once_and_for_one_thing(rows: Rows) -> None:
    rows.add("r1", ASKED, key="k", now=NOW)

    assert rows.add("r2", ASKED, key="k", now=NOW).retraining_id == "r1"
    with pytest.raises(ConflictError, match="used for another request: r1"):
        rows.add("r3", Request("digits", "rrr", "an alarm", "ann"), key="k", now=NOW)


def test_only_one_of_many_askers_of_a_model_gets_one(rows: Rows) -> None:
    made: list[str] = []
    refused: list[str] = []

    def ask(number: int) -> None:
        try:
            made.append(rows.add(f"r{number}", ASKED, key=None, now=NOW).retraining_id)
        except ConflictError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert (len(made), len(refused)) == (1, 5)
    assert all(made[0] in each for each in refused)
    other = Request("lamp", "auto", "an alarm", "ann")
    assert rows.add("other", other, key=None, now=NOW).status == "queued"


def test_a_row_moves_only_from_where_it_is_expected_and_never_once_it_has_ended(
    rows: Rows,
) -> None:
    rows.add("r1", ASKED, key=None, now=NOW)

    assert not rows.move("r1", expected=("running",), status="promoted", now=NOW)
    assert rows.move("r1", expected=("queued",), status="running", attempt=2, now=NOW)
    assert not rows.move("r1", expected=("running",), attempt=1, now=NOW)  # an older attempt
    assert rows.move("r1", expected=("running",), status="failed", reason="no data", now=NOW)
    assert not rows.move("r1", expected=("queued", "running"), status="promoted", now=NOW)
    assert rows.get("r1").reason == "no data"
    rows.add("r2", ASKED, key=None, now=NOW)


def test_facts_are_added_to_what_is_known(rows: Rows) -> None:
    rows.add("r1", ASKED, key=None, now=NOW)
    rows.move("r1", expected=("queued",), facts={"champion": 1, "dataset": "a"}, now=NOW)
    rows.move("r1", expected=("queued",), facts={"dataset": "b"}, now=NOW, said="read again")

    assert rows.get("r1").facts == {"champion": 1, "dataset": "b"}
    assert rows.events("r1")[-1][1] == "read again"


def test_what_waits_is_cancelled_at_once_and_what_runs_is_asked_to_end(rows: Rows) -> None:
    rows.add("r1", ASKED, key=None, now=NOW)
    assert rows.cancel("r1", actor="bob", now=NOW).status == "cancelled"
    assert rows.cancel("r1", actor="bob", now=NOW).status == "cancelled"

    rows.add("r2", ASKED, key=None, now=NOW)
    rows.move("r2", expected=("queued",), status="running", now=NOW)
    asked = rows.cancel("r2", actor="bob", now=NOW)
    assert (asked.status, asked.cancelled_by) == ("running", "bob")

    rows.move("r2", expected=("running",), status="promoted", now=NOW)
    with pytest.raises(ConflictError, match="r2 is promoted already"):
        rows.cancel("r2", actor="bob", now=NOW)


def test_a_person_approves_once_and_only_what_waits_for_it(rows: Rows) -> None:
    rows.add("r1", ASKED, key=None, now=NOW)
    said = Approval("ann", approved=True, reason="looks right", at=NOW)
    with pytest.raises(ConflictError, match="does not wait for approval"):
        rows.approve("r1", said)
    rows.move("r1", expected=("queued",), status="awaiting_approval", now=NOW)
    rows.approve("r1", said)
    with pytest.raises(ConflictError, match="ann has spoken already"):
        rows.approve("r1", said)

    assert rows.approvals("r1") == [said]


def test_pages_go_back_in_time(rows: Rows) -> None:
    names = [identifier(datetime(2026, 1, day, tzinfo=UTC)) for day in (1, 2, 3)]
    for number, name in enumerate(names):
        rows.add(name, Request(f"m{number}", "auto", "x", "ann"), key=None, now=NOW)

    assert [each.retraining_id for each in rows.page(limit=2)] == names[:0:-1]
    assert [each.retraining_id for each in rows.page(before=names[1])] == names[:1]
    assert [each.retraining_id for each in rows.page(model="m1")] == names[1:2]


def test_a_record_of_a_later_program_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'retrainings.db'}"
    with open_rows(url) as rows, rows.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE retraining_schema SET number = 2")

    with pytest.raises(ServiceError, match="of version 2, not 1"):
        connect(url)
