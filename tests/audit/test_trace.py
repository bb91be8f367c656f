"""The points of a watch's past: bounded, and no peak is lost."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.store import states
from audit.watch import trace
from audit.watch.trace import Point, Trace
from audit.watch.watching import Promise, Watching
from tests import stores
from tests.audit.test_watching import CARD, answer
from tests.entries import START


def points_of(values: list[float]) -> list[Point]:
    """Every point, as the store keeps them after each observation."""
    made, kept = Trace(), []
    for number, value in enumerate(values, 1):
        made.take(number, START + timedelta(seconds=number), value, value / 2)
        fresh, thin = made.taken_away()
        kept += fresh
        if thin:
            kept = trace.thinned(kept)
    return kept


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40), st.integers(1, 120))
def test_points_are_few_and_hold_every_peak(some: list[float], repeated: int) -> None:
    values = some * repeated
    found = points_of(values)
    distance = trace.stride(len(values))

    assert len(found) <= trace.MOST
    assert [each.observations for each in found] == [*range(distance, len(values) + 1, distance)]
    for each in found:
        between = values[each.observations - distance : each.observations]
        assert (between[-1], max(between)) == (each.value, each.peak)
        assert max(between) / 2 == each.cusum_peak


def test_the_distance_doubles_when_there_are_as_many_as_may_be() -> None:
    found = points_of([0.5] * 2000)

    assert (trace.MOST // 2, 8) == (len(found), found[0].observations)


@pytest.mark.parametrize("portion", [97, 600])
def test_the_stored_points_do_not_depend_on_the_transactions(store: stores.Store, portion) -> None:
    values = [(number * 37 % 101) / 101 for number in range(1100)]
    whole, part = Watching(Promise(), CARD), Watching(Promise(), CARD)
    for number, value in enumerate(values):
        whole.answered(answer(number, value))
    for start in range(0, 1100, portion):
        for number in range(start, min(1100, start + portion)):
            part.answered(answer(number, values[number]))
        with store.ledger.batch(now=START) as batch:
            states.save(batch.connection, part.settle(), seq=0)
        if start % (3 * portion) == 0:  # restart = no restart
            with store.ledger.engine.begin() as connection:
                texts = states.load(connection)
            part = Watching(Promise(), CARD)
            part.load(texts)

    with store.ledger.engine.begin() as connection:
        for each in whole.settle():
            expected = trace.thinned(each.points)
            assert expected == states.points(connection, each.watch_id)
