"""The auditor: exactly once, in order, and after any interruption bit by bit where it was."""

import hashlib
import os
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from audit import policy, records
from audit.canonical import Packed, packed_shares
from audit.detectors.family import Side
from audit.journal import lines
from audit.journal.writer import Writer
from audit.store import connections, queries, states, tables
from audit.watch.watching import Promise, Watching
from services.auditing import auditor, ingestion
from services.auditing.ingestion import Ingestion
from services.auditing.leadership import NotLeaderError, leadership
from services.records.trail import Trail
from services.settings import Settings
from tests.auditors import (
    WAITING,
    FixedReferences,
    NoReferences,
    answered,
    drain,
    intact,
    make,
    rows,
    stored_states,
    stream,
    write,
)
from tests.entries import MODEL, START, identifier, region


@pytest.fixture
def work(tmp_path) -> Iterator[Ingestion]:
    made = make(tmp_path)
    made.prepare(now=START)
    yield made
    made.ledger.engine.dispose()


def test_the_journal_ends_in_the_store_and_its_segments_go(tmp_path, work) -> None:
    write(tmp_path, *stream(600))

    assert drain(work) == 600
    assert [identifier(number) for number in range(600)] == [
        row.event_id for row in rows(work, tables.events)
    ]
    assert [] == lines.segments(tmp_path / "journal")
    assert work.pending() == 0
    assert intact(work)


def test_a_fall_raises_an_alarm_in_its_class_alone(tmp_path, work) -> None:
    falling = stream(400, fall=200)
    steady = [
        answered(1000 + number, each.measures["activation_recall"], "3")
        for number, each in enumerate(stream(400))
    ]
    mixed = [each for pair in zip(falling, steady, strict=True) for each in pair]
    write(tmp_path, *mixed)
    drain(work)
    raised = [row for row in rows(work, tables.alarms) if row.state not in {"ok", "warning"}]

    assert {("activation_recall", "low", "7", "client")} == {
        (row.measure, row.side, row.class_label, row.source) for row in raised
    }
    assert intact(work)


def test_a_steady_stream_raises_none(tmp_path, work) -> None:
    write(tmp_path, *stream(2000))
    drain(work)

    assert not any(row.state == "alarm" for row in rows(work, tables.alarms))


def test_states_do_not_depend_on_where_the_batches_end(tmp_path, monkeypatch) -> None:
    entries = stream(300, fall=200)
    found = []
    for number, size in enumerate((1, 7, 256)):
        monkeypatch.setattr(ingestion, "BATCH", size)
        work = make(tmp_path / str(number), plan=WAITING)
        work.prepare(now=START)
        write(tmp_path / str(number), *entries)
        drain(work)
        found.append(stored_states(work))
        work.ledger.engine.dispose()

    assert found[0] == found[1] == found[2]
    assert found[0]


def test_a_restart_goes_on_bit_by_bit(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ingestion, "BATCH", 10)
    entries = stream(300, fall=200)
    whole = make(tmp_path / "whole", plan=WAITING)
    whole.prepare(now=START)
    write(tmp_path / "whole", *entries)
    drain(whole)
    write(tmp_path / "cut", *entries)
    for _ in range(31):
        part = make(tmp_path / "cut", plan=WAITING)
        part.prepare(now=START)
        part.step(now=START)
        part.ledger.engine.dispose()

    assert stored_states(whole) == stored_states(part)
    whole.ledger.engine.dispose()
    part.ledger.engine.dispose()


@pytest.mark.parametrize("budget", [0, 4])
def test_a_replay_of_the_store_gives_the_same_states(tmp_path, work, budget) -> None:
    work.plan = policy.Plan(budget=budget)
    write(tmp_path, *stream(300, fall=200))
    write(tmp_path, *[replace(each, event_id="x" + each.event_id) for each in stream(100)])
    drain(work)
    raised = {"alarm", "requested"}
    [alarm] = [row for row in rows(work, tables.alarms) if row.state in raised]
    write(
        tmp_path,
        records.AcknowledgementEvent(identifier(9000), START, alarm.alarm_id, "ada", "seen"),
    )
    drain(work)
    again = Watching(Promise(), FixedReferences())
    with work.ledger.engine.begin() as connection:
        for _, event in queries.replay(connection):
            if isinstance(event, records.PredictionRecord):
                again.answered(event)
            elif isinstance(event, records.AcknowledgementEvent):
                again.acknowledged(event)
            elif isinstance(event, records.RequestEvent):
                again.requested(event)

    assert stored_states(work) == {key: each.to_text() for key, each in again.watched.items()}


def test_a_failed_step_is_done_again_once(tmp_path, work, monkeypatch) -> None:
    work.plan = WAITING
    write(tmp_path, *stream(300, fall=100))
    real, calls = states.save, []

    def fail_once(*arguments: object, **named: object) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("the disk is full")
        real(*arguments, **named)

    monkeypatch.setattr(ingestion.states, "save", fail_once)
    with pytest.raises(OSError, match="full"):
        work.step(now=START)
    assert [] == rows(work, tables.events)
    drain(work)
    monkeypatch.undo()
    other = make(tmp_path / "other", plan=WAITING)
    other.prepare(now=START)
    write(tmp_path / "other", *stream(300, fall=100))
    drain(other)

    assert stored_states(work) == stored_states(other)
    assert intact(work)
    other.ledger.engine.dispose()


def test_a_missing_line_costs_itself_and_the_next_and_is_written_down(tmp_path, work) -> None:
    write(tmp_path, *stream(10), source="a")
    write(tmp_path, *[replace(each, event_id="b" + each.event_id) for each in stream(10)])
    path = tmp_path / "journal" / lines.segments(tmp_path / "journal")[0].name
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(kept[:5] + kept[6:]))
    drain(work)

    assert len(rows(work, tables.predictions)) == 18
    with work.ledger.engine.begin() as connection:
        found = [event for _, event in queries.replay(connection)]
    [gap] = [each for each in found if isinstance(each, records.ActionEvent)]
    assert ("gap", str(len(kept[6]))) == (gap.action, gap.details["bytes"])
    assert hashlib.sha256(kept[6]).hexdigest() == gap.details["sha256"]
    assert work.broken == {}
    assert not path.exists()
    assert intact(work)


def test_an_entry_that_a_later_version_wrote_stops_its_source_alone(tmp_path, work) -> None:
    unknown = records.to_bytes(stream(1)[0]).replace(b'"schema":1', b'"schema":9')
    with Writer(tmp_path / "journal", "a") as journal:
        journal.append([records.to_bytes(answered(100, 0.5)), unknown])
    write(tmp_path, *stream(10))
    drain(work)

    assert len(rows(work, tables.predictions)) == 11
    assert ["a"] == [*work.broken]
    assert [*(tmp_path / "journal").glob("a-*")]


def test_images_move_to_their_folder_and_are_found(tmp_path, work) -> None:
    address = "ab" * 32
    picture = records.ImageRecord(
        identifier(1), START, address, Packed.of(np.frombuffer(b"png", np.uint8), "|u1")
    )
    write(tmp_path, picture, answered(1, 0.6, image=address))
    drain(work)
    reading = queries.Reading(connections.open_reader(str(work.ledger.engine.url)))
    trail = Trail(tmp_path / "journal", work.images, lambda: reading)

    assert trail.image(identifier(1)) == b"png"
    assert len(rows(work, tables.events)) == 1
    reading.engine.dispose()


def test_a_late_region_is_measured_on_the_stored_heatmap(tmp_path, work) -> None:
    heatmap = np.zeros((7, 7))
    heatmap[:2] = 1.0
    late = region(1, "reviewer")
    inside = replace(late, shares=packed_shares((heatmap > 0).astype(float)))
    outside = replace(late, shares=packed_shares((heatmap == 0).astype(float)))
    record = replace(answered(1, 0.5), heatmap=packed_shares(heatmap), region=None, measures={})
    write(
        tmp_path,
        record,
        records.RegionEvent(identifier(2), START, identifier(1), inside, "ada", "random"),
        records.RegionEvent(identifier(3), START, identifier(1), outside, "ada", "random"),
    )
    drain(work)
    values = {
        (row.seq, row.name): (row.value, row.current)
        for row in rows(work, tables.measures)
        if row.name == "activation_recall"
    }
    [watched] = [
        each
        for each in work.watching.watched.values()
        if (each.series.measure, each.series.side) == ("activation_recall", Side.LOW)
    ]

    assert {
        (2, "activation_recall"): (1.0, False),
        (3, "activation_recall"): (0.0, True),
    } == values
    assert watched.detector.observations == 1  # a correction is not a second observation
    assert watched.series.source == "reviewer"


def test_a_chosen_review_feeds_no_detector(tmp_path, work) -> None:
    late = region(1, "reviewer")
    record = replace(answered(1, 0.5), region=None, measures={})
    event = records.RegionEvent(identifier(2), START, identifier(1), late, "ada", "chosen")
    write(tmp_path, record, event)
    drain(work)

    assert {"confidence"} == {each.series.measure for each in work.watching.watched.values()}
    assert rows(work, tables.measures)


def test_a_region_of_another_shape_is_kept_and_not_measured(tmp_path, work) -> None:
    wrong = replace(region(1, "reviewer"), shares=packed_shares(np.ones((3, 3))))
    write(
        tmp_path,
        answered(1, 0.5),
        records.RegionEvent(identifier(2), START, identifier(1), wrong, "ada"),
    )

    assert drain(work) == 2


def test_an_alarm_is_acknowledged_requested_and_replaced(tmp_path, work) -> None:
    write(tmp_path, *stream(400, fall=200))
    drain(work)
    drain(work, now=START + timedelta(minutes=1))
    [alarm] = [row for row in rows(work, tables.alarms) if row.state == "requested"]
    [request] = rows(work, tables.requests)

    assert (request.status, request.origin, request.alarm_id) == ("open", "policy", alarm.alarm_id)
    assert "activation_recall" in request.reason

    promoted = records.ActionEvent(
        identifier(9001), START, "promotion", "gate", {"model": MODEL.name, "version": "4"}
    )
    write(tmp_path, promoted)
    drain(work)
    assert {"closed"} == {
        row.state for row in rows(work, tables.alarms) if row.alarm_id == alarm.alarm_id
    }
    assert intact(work)


def test_the_policy_waits_where_it_must(tmp_path) -> None:
    work = make(tmp_path, plan=policy.Plan(needs_acknowledgement=True))
    work.prepare(now=START)
    write(tmp_path, *stream(400, fall=200))
    drain(work)
    drain(work, now=START + timedelta(minutes=1))
    assert [] == rows(work, tables.requests)
    [alarm] = [row for row in rows(work, tables.alarms) if row.state == "alarm"]

    seen = records.AcknowledgementEvent(identifier(9000), START, alarm.alarm_id, "ada", "seen")
    write(tmp_path, seen)
    drain(work)
    drain(work, now=START + timedelta(minutes=2))
    assert len(rows(work, tables.requests)) == 1
    work.ledger.engine.dispose()


def test_a_run_settles_its_request(tmp_path, work) -> None:
    asked = records.RequestEvent(
        identifier(1), START, "r1", "digits", "alertmanager", "alertmanager", "why"
    )
    done = records.ActionEvent(
        identifier(2), START, "run", "work", {"request_id": "r1", "status": "promoted"}
    )
    write(tmp_path, asked, asked, done)
    drain(work)

    assert ["promoted"] == [row.status for row in rows(work, tables.requests)]


def test_without_a_card_the_first_records_become_the_reference(tmp_path) -> None:
    work = make(tmp_path, NoReferences())
    work.prepare(now=START)
    write(tmp_path, *stream(600, fall=400))
    drain(work)
    watched = {
        each.series.measure + each.series.side: each for each in work.watching.watched.values()
    }

    assert watched["activation_recalllow"].origin == "traffic"
    assert watched["activation_recalllow"].reference.observations == 200
    assert watched["activation_recalllow"].alarm.standing
    work.ledger.engine.dispose()


def test_a_drill_raises_its_own_alarm_and_no_other(tmp_path, work) -> None:
    drilled = [
        replace(each, stream="drill", measures={"activation_recall": 0.1}) for each in stream(60)
    ]
    write(tmp_path, *drilled)
    drain(work)
    drain(work, now=START + timedelta(minutes=1))

    assert {"digits (drill)"} == {row.model for row in rows(work, tables.alarms)}
    assert [] == rows(work, tables.requests)


def test_an_erasure_takes_image_payload_and_journal_along(tmp_path, work) -> None:
    address = "cd" * 32
    with Writer(tmp_path / "journal", "living") as journal:
        picture = records.ImageRecord(
            identifier(1), START, address, Packed.of(np.frombuffer(b"png", np.uint8), "|u1")
        )
        mine = answered(1, 0.5, image=address, subject="patient-mallory")
        journal.append([records.to_bytes(picture), records.to_bytes(mine)])
        drain(work)
        asked = records.ErasureRequest(identifier(2), START, "dpo", "patient-mallory")
        journal.append([records.to_bytes(asked)])
        drain(work)
        journal.append([records.to_bytes(answered(3, 0.5))])
        assert drain(work) == 1  # the living segment can be read on

    assert work.images.read(address) is None
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"patient-mallory" not in content
    assert intact(work)


def test_there_is_one_leader(tmp_path, work) -> None:
    engine = work.ledger.engine
    with (
        leadership(tmp_path / "lock", engine),
        pytest.raises(NotLeaderError),
        leadership(tmp_path / "lock", engine),
    ):
        pass
    with leadership(tmp_path / "lock", engine):
        pass


@pytest.mark.system
def test_the_process_audits_stands_by_and_shows_its_gauges(tmp_path) -> None:
    port = 20_000 + os.getpid() % 20_000
    chosen = Settings(home=tmp_path, audit_port=port, audit_seconds=0.01)
    other = Settings(home=tmp_path, audit_port=0, audit_seconds=0.01)
    stop, stop_other = threading.Event(), threading.Event()
    first = threading.Thread(target=auditor.run, args=(chosen, stop))
    second = threading.Thread(target=auditor.run, args=(other, stop_other))
    first.start()
    write(tmp_path, *stream(300, fall=100))
    try:
        shown = _await(port, "audit_head_sequence", lambda value: value >= 300)
        second.start()
        assert 'audit_drift_state{class="7"' in shown
        assert "audit_last_evaluated_timestamp_seconds" in shown
        stop.set()
        first.join()
        write(tmp_path, *[replace(each, event_id="y" + each.event_id) for each in stream(10)])
        reader = connections.open_reader(other.store)
        deadline = time.monotonic() + 20
        count = 0
        while count < 310 and time.monotonic() < deadline:
            with reader.begin() as connection:
                predicted = tables.events.c.kind == "prediction"
                wanted = sa.select(sa.func.count()).where(predicted)
                count = connection.execute(wanted).scalar()
        reader.dispose()
        assert count == 310
    finally:
        stop.set()
        stop_other.set()
        first.join()
        if second.is_alive():
            second.join()


def _await(port: int, name: str, enough) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                text = answer.read().decode()
        except OSError:
            time.sleep(0.05)
            continue
        value = next(line for line in text.splitlines() if line.startswith(name + " "))
        if enough(float(value.split()[1])):
            return text
        time.sleep(0.05)
    raise TimeoutError(name)
