"""What is said about an answer before it is there: held back, applied after it, erased with it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from audit import records
from audit.store import erasure, queries, tables
from tests.entries import START, every_entry, identifier, ids, prediction, region
from tests.stores import Store

KINDS = ("label", "region", "review", "reading_request", "probe")


def said(number: int, about: int, kind: str = "label", **changes: object) -> records.Event:
    """Something of a kind about the answer with the number `about`."""
    example = next(each for each in every_entry() if each.kind == kind)
    told = {"event_id": identifier(number), "prediction_id": identifier(about)}
    return replace(example, **(told | changes))


def erase(store: Store, subject: str, number: int) -> erasure.Erased:
    store.add(records.ErasureRequest(identifier(number), START, "dpo", subject))
    with store.ledger.batch(now=START) as batch:
        erased = erasure.erase_requested(batch, identify=ids(), forget=lambda _: ())
    store.anchors.publish(store.ledger.anchor(now=START))
    return erased


def two_batches(store: Store, *events: records.Event) -> None:
    store.add(*events[:-1])
    store.add(events[-1])


def one_batch(store: Store, *events: records.Event) -> None:
    store.add(*events)


@pytest.mark.parametrize("arrives", [two_batches, one_batch])
def test_what_comes_before_its_answer_counts_like_what_comes_after(
    store: Store, arrives: Callable[..., None]
) -> None:
    arrives(
        store,
        said(2, 1, label="7"),
        said(3, 1, "review", verdict="right-reason"),
        said(4, 1, "reading_request"),
        said(5, 1, "probe", measures={"flip": 1.0}),
        said(6, 1, label="3"),
        prediction(1, subject="p"),
    )
    [answer] = store.rows(tables.predictions)
    probed = [row.value for row in store.rows(tables.measures) if row.name == "blur_flip"]

    assert ("3", "right-reason") == (answer.label, answer.verdict)
    assert [1.0] == probed
    assert [identifier(1)] == [row.prediction_id for row in store.rows(tables.readings)]
    assert {"p"} == {row.subject for row in store.rows(tables.payloads)}
    assert [] == store.rows(tables.waiting)
    assert store.verify().intact


@pytest.mark.parametrize("kind", KINDS)
def test_what_came_first_is_erased_with_its_answers_subject(store: Store, kind: str) -> None:
    store.add(said(2, 1, kind))
    store.add(prediction(1, subject="p"))
    erased = erase(store, "p", 3)

    assert (1, 2, 3) == erased.sequences
    assert store.verify().intact


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said_about_an_erased_answer_goes_next(store: Store, kind: str) -> None:
    store.add(prediction(1, subject="p"), prediction(8))
    erase(store, "p", 2)
    store.add(said(3, 1, kind), said(4, 8))
    with store.ledger.batch(now=START) as batch:
        erased = erasure.erase_requested(batch, identify=ids(9000), forget=lambda _: ())
    store.anchors.publish(store.ledger.anchor(now=START))

    assert [5] == list(erased.sequences)
    assert [] == store.rows(tables.waiting)
    assert store.verify().intact


def test_a_truth_waits_for_its_own_answer_only(store: Store) -> None:
    store.add(said(2, 1, label="7"), said(3, 4, label="3"))
    store.add(prediction(4))
    [answer] = store.rows(tables.predictions)

    assert "3" == answer.label
    assert [(1, identifier(1))] == [tuple(row) for row in store.rows(tables.waiting)]
    assert store.verify().intact


def test_more_than_one_statement_holds_waits_too(store: Store) -> None:
    """SQLite counts the parameters of a statement."""
    store.add(*(said(10_000 + number, number, label="7") for number in range(1201)))
    store.add(*(prediction(number) for number in range(1201)))

    assert {"7"} == {row.label for row in store.rows(tables.predictions)}
    assert [] == store.rows(tables.waiting)


def test_an_erasure_can_stop_at_a_request(store: Store) -> None:
    store.add(prediction(1, subject="p"), prediction(2, subject="q"))
    store.add(records.ErasureRequest(identifier(3), START, "dpo", "p"))
    store.add(records.ErasureRequest(identifier(4), START, "dpo", "q"))
    with store.ledger.batch(now=START) as batch:
        assert erasure.asked(batch.connection) == 4
        erased = erasure.erase_requested(batch, identify=ids(), forget=lambda _: (), until=3)
        assert erasure.asked(batch.connection) == 4

    assert (1, 3) == erased.sequences


def test_a_replay_yields_events_as_they_took_effect(store: Store) -> None:
    store.add(said(2, 1, label="7"), said(3, 9), prediction(5))
    store.add(said(4, 1, "region", region=region(1)), prediction(1))
    store.add(said(6, 1))
    with store.ledger.engine.begin() as connection:
        found = [seq for seq, _ in queries.applied(connection)]

    assert [3, 5, 1, 4, 6] == found


def test_a_truth_kept_under_another_subject_is_found(store: Store) -> None:
    store.add(said(2, 1), prediction(1, subject="p"))
    store.tamper("UPDATE payloads SET subject = NULL WHERE seq = 1")

    assert {"EDITED"} == store.found()


def test_an_answer_kept_under_another_subject_is_found(store: Store) -> None:
    store.add(prediction(1, subject="p"))
    store.tamper("UPDATE payloads SET subject = NULL WHERE seq = 1")

    assert {"EDITED"} == store.found()


def test_a_truth_that_waits_although_its_answer_is_there_is_found_and_resumed(
    store: Store,
) -> None:
    store.add(said(2, 1, label="7"))
    store.tamper("DELETE FROM waiting")
    store.add(prediction(1, subject="p"))
    store.tamper("INSERT INTO waiting SELECT 1, prediction_id FROM predictions")
    assert {"EDITED"} == store.found()
    with store.ledger.batch(now=START) as batch:
        [resumed] = batch.resume()

    assert (resumed.seq, "label") == (1, resumed.event.kind)
    assert ["7"] == [row.label for row in store.rows(tables.predictions)]
    assert store.verify().intact


def test_a_store_of_the_version_before_applies_what_it_dropped(store: Store) -> None:
    """Made as that version did: nothing waits, a review has its row, none its answer's subject."""
    store.add(said(2, 1, label="7"), said(3, 1, "review"), said(4, 8))
    store.add(prediction(1, subject="p"), prediction(8, subject="q"))
    erase(store, "q", 5)
    store.tamper(
        "DROP TABLE waiting",
        "DROP TABLE forgotten",
        "UPDATE payloads SET subject = NULL WHERE seq < 4",
        "UPDATE predictions SET label = NULL, verdict = NULL",
        "UPDATE alembic_version SET version_num = '0005'",
    )
    store.ledger.prepare(now=START)
    with store.ledger.batch(now=START) as batch:
        batch.resume()
    store.anchors.publish(store.ledger.anchor(now=START))
    [answer] = [row for row in store.rows(tables.predictions) if not row.erased]

    assert ("7", "wrong-reason") == (answer.label, answer.verdict)
    assert 1 == len(store.rows(tables.reviews))
    assert [identifier(8)] == [row.prediction_id for row in store.rows(tables.forgotten)]
    with store.ledger.engine.begin() as connection:
        subjects = sa.select(tables.payloads.c.subject).where(tables.payloads.c.seq < 3)
        assert ["p", "p"] == connection.execute(subjects).scalars().all()
    assert store.verify().intact
