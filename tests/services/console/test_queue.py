"""The review queue: a draw that can be repeated, with the probability that it states."""

from dataclasses import replace
from pathlib import Path

import pytest

from audit.sampling import Interest
from services.console import queue
from tests import entries, stores

KEY = bytes(32)
NAME = entries.MODEL.name


@pytest.fixture
def store(tmp_path):  # noqa: ANN201 - stores.Store
    made = stores.make(f"sqlite:///{tmp_path / 'audit.db'}", tmp_path)
    yield made
    made.ledger.engine.dispose()


def fill(store: stores.Store, answers: int) -> None:
    store.add(*[replace(entries.prediction(n), image="0" * 64) for n in range(answers)])


def drawn(store: stores.Store, key: bytes = KEY) -> list[queue.Item]:
    with store.ledger.engine.begin() as connection:
        return queue.items(connection, NAME, key=key)


def test_few_answers_are_all_reviewed(store) -> None:
    fill(store, queue.AT_LEAST)
    found = drawn(store)

    assert queue.AT_LEAST == len(found)
    assert {1.0} == {each.inclusion for each in found}


def test_as_many_enter_as_the_probabilities_say(store) -> None:
    """The sum of the stated probabilities, within four standard deviations over keys."""
    fill(store, 120)
    sizes, expected = [], []
    for number in range(30):
        found = drawn(store, number.to_bytes(32, "big"))
        sizes.append(len(found))
        # Horvitz and Thompson: one over the probability, summed over the draw, is the population.
        expected.append(sum(1 / each.inclusion for each in found))

    assert 20 < sum(sizes) / len(sizes) < 60
    assert 120 == pytest.approx(sum(expected) / len(expected), rel=0.2)


def test_the_same_key_draws_the_same_queue(store) -> None:
    fill(store, 60)

    assert drawn(store) == drawn(store)
    assert drawn(store) != drawn(store, b"1" * 32)


def test_bands_of_priority_come_in_order(store) -> None:
    fill(store, 60)
    bands = [int(each.score * 4) for each in drawn(store)]

    assert sorted(bands, reverse=True) == bands


def test_every_part_of_the_interest_has_its_word_in_the_page() -> None:
    text = Path(queue.__file__).with_name("static").joinpath("review.js").read_text("utf-8")

    assert all(f"{name}:" in text for name in Interest.__slots__)
