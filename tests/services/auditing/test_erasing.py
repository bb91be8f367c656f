"""Late truths and erasures under load: measured after their answer, erased with all there was."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from audit import records
from audit.canonical import packed_shares
from audit.journal.writer import Writer
from audit.store import queries, tables
from audit.watch.watching import Promise, Watching
from services.auditing import ingestion, reacting
from services.auditing.ingestion import Ingestion
from tests.auditors import (
    WAITING,
    FixedReferences,
    answered,
    drain,
    intact,
    make,
    rows,
    stored_states,
    stream,
    write,
)
from tests.entries import START, identifier, region


@pytest.fixture
def work(tmp_path, monkeypatch) -> Iterator[Ingestion]:
    monkeypatch.setattr(ingestion, "BATCH", 8)
    made = make(tmp_path, plan=WAITING)
    made.prepare(now=START)
    yield made
    made.ledger.engine.dispose()


def label(number: int, about: int) -> records.LabelEvent:
    return records.LabelEvent(identifier(number), START, identifier(about), "3", "ada")


def asked(number: int, subject: str) -> records.ErasureRequest:
    return records.ErasureRequest(identifier(number), START, "dpo", subject)


def late_region(number: int, about: int) -> records.RegionEvent:
    return records.RegionEvent(
        identifier(number), START, identifier(about), region(1, "reviewer"), "ada", stratum="all"
    )


def test_a_region_that_overtakes_its_answer_is_measured(tmp_path, work) -> None:
    write(tmp_path, late_region(900, 1), source="a")
    write(tmp_path, replace(answered(1, 0.5), region=None, measures={}), source="b")
    drain(work)
    measured = {row.name for row in rows(work, tables.measures) if row.source == "reviewer"}

    assert "activation_recall" in measured
    assert any(each.series.source == "reviewer" for each in work.watching.watched.values())
    assert intact(work)


def test_detectors_replay_what_overtook_its_answer(tmp_path, work) -> None:
    heatmap = np.zeros((7, 7))
    heatmap[:2] = 1.0
    answers = [replace(each, heatmap=packed_shares(heatmap)) for each in stream(40)]
    write(tmp_path, *(late_region(900 + number, number) for number in range(20)), source="a")
    write(tmp_path, *answers[:30], source="b")
    write(tmp_path, *(late_region(960 + number, number) for number in range(20, 40)), source="c")
    write(tmp_path, *answers[30:], source="d")
    drain(work)
    again = make(tmp_path / "again", plan=WAITING)
    again.prepare(now=START)
    watching = Watching(Promise(), FixedReferences())
    with work.ledger.engine.begin() as old, again.ledger.batch(now=START) as batch:
        for _, event in queries.applied(old):
            if not isinstance(event, records.AlarmEvent):
                reacting.react(batch, batch.append(event).seq, event, watching)

    assert stored_states(work) == {key: each.to_text() for key, each in watching.watched.items()}
    again.ledger.engine.dispose()


def test_an_erasure_waits_for_what_was_written_before_it_and_for_no_quiet(tmp_path, work) -> None:
    """The request is read first, the answers of its subject come in a long backlog behind."""
    write(tmp_path, asked(900, "p"), label(901, 3), source="a")
    with Writer(tmp_path / "journal", "b0") as journal:
        mine = [answered(number, 0.5, subject="p") for number in range(20)]
        journal.append([records.to_bytes(each) for each in mine])
        work.step(now=START)
        assert [None] == [row.done_at for row in rows(work, tables.erasures)]
        number, steps = 1000, 0
        while rows(work, tables.erasures)[0].done_at is None:
            more = [answered(number + each, 0.5) for each in range(9)]  # more than a batch
            journal.append([records.to_bytes(each) for each in more])
            assert work.step(now=START) > 0
            number, steps = number + 9, steps + 1
            assert steps < 10
        kept = {row.subject for row in rows(work, tables.payloads)}

        assert {None} == kept
        assert not any(
            b'"label":"3"' in bytes(row.body)
            for row in rows(work, tables.payloads)
            if b'"kind":"label"' in bytes(row.body)
        )
        drain(work)
    assert intact(work)


def test_a_request_that_comes_while_another_waits_is_carried_out_too(tmp_path, work) -> None:
    write(tmp_path, asked(900, "p"), source="a")
    write(tmp_path, *(answered(number, 0.5, subject="p") for number in range(10)), source="b")
    work.step(now=START)
    write(tmp_path, *(answered(20 + number, 0.5, subject="q") for number in range(10)), source="d")
    write(tmp_path, asked(901, "q"), source="c")
    drain(work)
    drain(work)

    assert all(row.done_at for row in rows(work, tables.erasures))
    assert {None} == {row.subject for row in rows(work, tables.payloads)}


def test_an_erasure_goes_on_after_a_restart(tmp_path, work) -> None:
    write(tmp_path, asked(900, "p"), source="a")
    write(tmp_path, *(answered(number, 0.5, subject="p") for number in range(10)), source="b")
    work.step(now=START)
    again = make(tmp_path, plan=WAITING)
    again.prepare(now=START)
    drain(again)

    assert all(row.done_at for row in rows(again, tables.erasures))
    assert {None} == {row.subject for row in rows(again, tables.payloads)}
    again.ledger.engine.dispose()


def test_what_is_said_after_an_erasure_is_not_kept(tmp_path, work) -> None:
    write(tmp_path, answered(1, 0.5, subject="p"))
    write(tmp_path, asked(900, "p"))
    drain(work)
    write(tmp_path, label(901, 1))
    drain(work)

    assert not any(b"ada" in bytes(row.body) for row in rows(work, tables.payloads))
    assert intact(work)


def test_a_torn_last_line_keeps_no_erasure_waiting(tmp_path, work) -> None:
    write(tmp_path, answered(1, 0.5, subject="p"), source="b")
    [path] = (tmp_path / "journal").glob("b*.jsonl")
    with path.open("ab") as file:
        file.write(b'{"check":"0000')
    write(tmp_path, asked(900, "p"), source="a")
    drain(work)
    drain(work)

    assert all(row.done_at for row in rows(work, tables.erasures))
