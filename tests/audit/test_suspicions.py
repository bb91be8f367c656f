"""The search for suspected shortcuts in a store: SQLite, and PostgreSQL where it is installed."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from audit import records
from audit.canonical import packed_shares
from audit.store import searching, suspicions, tables
from audit.store.searching import Group
from audit.suspicions import SuspicionEvent
from tests.entries import MODEL, START, identifier, prediction
from tests.stores import Store

SEVEN = Group(MODEL.name, MODEL.version, "7")


def answer(
    number: int, *, cornered: bool, label: str = "7", **changes: object
) -> records.PredictionRecord:
    rng = np.random.default_rng([number, 5])
    rows, columns = np.mgrid[:7, :7]
    row, column = (6.0, 0.2) if cornered else rng.normal(3.2, 0.7, 2)
    width = 0.8 if cornered else 1.5
    heat = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))
    rated = records.RatedClass(int(label), label, 0.9)
    return replace(
        prediction(number),
        classes=(rated,),
        target=rated,
        heatmap=packed_shares(heat),
        **changes,
    )


def search(store: Store, name: int, *, most: int = 400) -> SuspicionEvent | None:
    with store.ledger.batch(now=START + timedelta(days=name)) as batch:
        return searching.search(batch, SEVEN, most=most, event_id=identifier(5000 + name))


def test_the_corner_is_found_stored_and_read_again(store: Store) -> None:
    store.add(*(answer(n, cornered=n % 3 == 0) for n in range(60)))
    found = search(store, 1)
    with store.ledger.engine.begin() as connection:
        rows = suspicions.listed(connection, suspicions.Wanted(MODEL.name))

    assert found is not None
    assert rows[0]["suspicion_id"] == found.found[0].suspicion_id
    assert (6, 0) == np.unravel_index(np.argmax(rows[0]["heatmap"]), (7, 7))
    assert rows[0]["size"] == 20
    assert store.verify().intact


def test_a_look_keeps_its_id_and_what_is_gone_is_no_longer_current(store: Store) -> None:
    store.add(*(answer(n, cornered=n % 3 == 0) for n in range(60)))
    first = search(store, 1)
    store.add(*(answer(n, cornered=False) for n in range(100, 160)))
    second = search(store, 2, most=60)
    store.add(*(answer(n, cornered=n % 2 == 0) for n in range(200, 260)))
    third = search(store, 3, most=60)
    corner = first.found[0].suspicion_id
    with store.ledger.engine.begin() as connection:
        row = suspicions.one(connection, corner)

    assert corner not in {each.suspicion_id for each in second.found}
    assert corner in {each.suspicion_id for each in third.found}
    assert row["current"]
    assert row["first_found_at"] < row["found_at"]


def test_only_live_answers_of_the_class_that_explain_it_are_grouped(store: Store) -> None:
    other = records.RatedClass(3, "3", 0.1)
    store.add(
        *(answer(n, cornered=n % 3 == 0) for n in range(30)),
        *(answer(n, cornered=True, label="4") for n in range(30, 60)),
        *(answer(n, cornered=True, stream="drill") for n in range(60, 90)),
        *(replace(answer(n, cornered=True), target=other) for n in range(90, 120)),
    )

    assert search(store, 1).answers == 30


def test_too_few_answers_leave_nothing(store: Store) -> None:
    store.add(*(answer(n, cornered=True) for n in range(19)))

    assert search(store, 1) is None


def test_erased_answers_are_no_examples_any_more(store: Store) -> None:
    store.add(*(answer(n, cornered=n % 3 == 0) for n in range(60)))
    before = search(store, 1).found[0]
    table = tables.predictions
    gone = sa.update(table).where(table.c.prediction_id == before.examples[0])
    with store.ledger.engine.begin() as connection:
        connection.execute(gone.values(erased=True))
        row = suspicions.one(connection, before.suspicion_id)

    assert list(before.examples[1:]) == row["examples"]


def test_a_small_group_is_counted_and_not_shown(store: Store) -> None:
    """The mean of a few heatmaps would say too much about each of them."""
    store.add(*(answer(n, cornered=n < 4) for n in range(60)))
    found = search(store, 1)

    assert all(each.size >= searching.SMALLEST for each in found.found)


def test_counts_go_on_from_the_last_look_after_a_restart(store: Store) -> None:
    store.add(*(answer(n, cornered=n % 3 == 0) for n in range(40)))
    with store.ledger.engine.begin() as connection:
        before = searching.recall_counts(connection)
    search(store, 1)
    store.add(*(answer(n, cornered=False) for n in range(100, 107)))
    with store.ledger.engine.begin() as connection:
        after = searching.recall_counts(connection)
        classes = searching.classes_of(connection, MODEL.name)

    assert (before[SEVEN], after[SEVEN]) == (40, 7)
    assert classes == [SEVEN]


@pytest.mark.parametrize("verdict", ["confirmed", "dismissed"])
def test_every_verdict_is_kept(store: Store, verdict) -> None:
    store.add(*(answer(n, cornered=n % 3 == 0) for n in range(60)))
    name = search(store, 1).found[0].suspicion_id
    for number, said in enumerate(("open", verdict)):
        details = {"suspicion_id": name, "verdict": said, "note": str(number)}
        store.add(
            records.ActionEvent(
                identifier(900 + number), START, "suspicion_verdict", "ada", details
            )
        )
    with store.ledger.engine.begin() as connection:
        row = suspicions.one(connection, name)
        standing = suspicions.standing(connection)

    assert ["open", verdict] == [each["verdict"] for each in row["verdicts"]]
    assert row["verdict"] == verdict
    assert verdict in {each[3] for each in standing}
