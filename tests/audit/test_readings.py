"""Second readings in the store: who waits, who differs, who decides."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from audit import readings, records
from audit.store import tables
from tests import entries, stores
from tests.entries import START, identifier

NAME = entries.MODEL.name


@pytest.fixture
def store(tmp_path) -> Iterator[stores.Store]:
    made = stores.make(f"sqlite:///{tmp_path / 'audit.db'}", tmp_path)
    made.add(*[replace(entries.prediction(n), image="0" * 64) for n in range(1, 9)])
    yield made
    made.ledger.engine.dispose()


numbers = entries.ids()


def read(number: int, actor: str, verdict: str, kind: str = "first", **more: str) -> records.Event:
    now = START + timedelta(hours=1)
    return records.ReviewEvent(
        numbers(), now, identifier(number), verdict, actor, reading=kind, **more
    )


def asked(number: int) -> records.Event:
    return records.ReadingRequest(numbers(), START, identifier(number), "ada", "rare")


def test_who_waits_is_read_by_another_and_only_once(store) -> None:
    store.add(read(1, "ada", "unsure"), read(2, "ada", "unsure"), asked(1), asked(1), asked(3))
    with store.ledger.engine.begin() as connection:
        assert [identifier(3)] == readings.asked(connection, NAME, reader="ada", limit=9)
        waiting = readings.asked(connection, NAME, reader="bob", limit=9)
        assert [identifier(1), identifier(3)] == waiting
        once = readings.once(connection, NAME, reader="bob", limit=9)
        assert [identifier(2), identifier(1)] == once
    store.add(read(1, "bob", "unsure", "second"))

    with store.ledger.engine.begin() as connection:
        assert [identifier(3)] == readings.asked(connection, NAME, reader="cy", limit=9)
        assert {"ada", "bob"} == readings.readers(connection, identifier(1))


def test_a_conflict_waits_until_somebody_decides(store) -> None:
    store.add(read(1, "ada", "right-reason"), read(1, "bob", "wrong-reason", "second", note="see"))
    with store.ledger.engine.begin() as connection:
        (found,) = readings.conflicts(connection, NAME)
    said = [(each.actor, each.verdict, each.note) for each in found.readings]
    assert [("ada", "right-reason", ""), ("bob", "wrong-reason", "see")] == said
    store.add(read(1, "cy", "unsure", "adjudication", label="7"), read(1, "bob", "bad-image"))

    with store.ledger.engine.begin() as connection:
        assert [] == readings.conflicts(connection, NAME)
    row = next(row for row in store.rows(tables.predictions) if row.verdict)
    assert ("unsure", "7") == (row.verdict, row.label)


def test_agreement_counts_readings_that_know_nothing_of_each_other(store) -> None:
    for number, second in ((1, "unsure"), (2, "unsure"), (3, "bad-image"), (4, "bad-image")):
        first = "unsure" if number < 4 else "bad-image"
        store.add(read(number, "ada", first), read(number, "bob", second, "second"))
        store.add(read(number, "cy", "wrong-class", "adjudication"))
    with store.ledger.engine.begin() as connection:
        found = readings.of_model(connection, NAME)
        other = readings.of_model(connection, NAME, version=99)

    assert ("kappa", 2, 4) == (found.coefficient, found.readers, found.items)
    assert 0.75 == found.observed.value
    assert 0.5 == pytest.approx(found.beyond_chance.value)
    assert 0 == other.items
