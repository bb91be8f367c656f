"""The newest answers at a glance, against loops over the same records."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from audit import intervals, recent, records
from tests import entries, stores

NOW = entries.START + timedelta(days=1)
NAME = entries.MODEL.name


def answer(number: int, **changes: object) -> records.PredictionRecord:
    made = entries.prediction(number)
    chances = {"chance": 0.25, "recall_chance": 0.5 + number / 1000}
    fields = {"image": "0" * 64, "measures": {**made.measures, **chances}, **changes}
    return replace(made, **fields)


@pytest.fixture
def answers(store: stores.Store) -> Sequence[records.PredictionRecord]:
    """Sixty answers: every fourth without a region, two of a drill, one of an older version."""
    found = [
        answer(number) if number % 4 else answer(number, region=None, measures={})
        for number in range(60)
    ]
    found[58] = replace(found[58], stream="drill")
    found[59] = replace(found[59], stream="drill")
    found[1] = replace(found[1], model=replace(entries.MODEL, version=2))
    store.add(*found)
    return [each for each in found if each.stream == "live"]


def seen(store: stores.Store, window: int = 1000) -> recent.Glance:
    with store.ledger.engine.begin() as connection:
        return recent.glance(connection, NAME, 3, now=NOW, window=window)


@pytest.mark.parametrize("window", [1, 7, 40, 1000])
def test_means_are_those_of_the_window(store, answers, window) -> None:
    inside = [each for each in answers if each.model.version == 3][-window:]
    located = [each.measures for each in inside if each.region]

    found = seen(store, window)
    assert len(inside) == found.answers
    assert len(located) == found.with_region
    for name, chance in recent.CHANCES.items():
        expected = [each[name] for each in located]
        if not expected:
            assert name not in found.trends
            continue
        trend = found.trends[name]
        assert sum(expected) / len(expected) == pytest.approx(trend.estimate.value)
        assert len(expected) == trend.estimate.observations
        assert trend.estimate.low <= trend.estimate.value <= trend.estimate.high
        assert np.mean([each[chance] for each in located]) == pytest.approx(trend.chance)
        assert min(len(expected), recent.POINTS) == len(trend.points)
        assert expected[0] >= 0


def test_a_trend_runs_from_old_to_new(store) -> None:
    store.add(*[answer(n, measures={"relevance_mass": n / 100}) for n in range(48)])
    points = seen(store).trends["relevance_mass"].points

    assert list(points) == sorted(points)
    assert 0.005 == pytest.approx(points[0])


def test_traffic_is_counted_by_day_whatever_the_version(store, answers) -> None:
    found = seen(store, 1)

    assert len(answers) == found.today
    assert recent.DAYS == len(found.days)
    assert [0] * (recent.DAYS - 2) + [len(answers), 0] == list(found.days)


def test_accuracy_needs_labels(store, answers) -> None:
    assert seen(store).accuracy is None
    *known, last = answers[-recent.LABELS :]
    for number, about in enumerate(known):
        label = about.decided.label
        if number % 2:
            label = next(each for each in entries.LABELS if each != label)
        name = entries.identifier(9000 + number)
        store.add(records.LabelEvent(name, NOW, about.prediction_id, label, "ada"))

    assert seen(store).accuracy is None, "one fewer than it takes"
    name = entries.identifier(9100)
    store.add(records.LabelEvent(name, NOW, last.prediction_id, last.decided.label, "ada"))
    accuracy = seen(store).accuracy
    assert ((recent.LABELS // 2 + 1) / recent.LABELS, recent.LABELS) == (
        accuracy.value,
        accuracy.observations,
    )


def test_the_source_with_the_most_regions_is_shown(store) -> None:
    store.add(
        *[answer(n, region=entries.region(n, "client")) for n in range(3)],
        *[answer(n, region=entries.region(n, "segmenter")) for n in range(3, 8)],
    )

    assert "segmenter" == seen(store).trends["relevance_mass"].source


def test_an_empty_store_shows_nothing(store) -> None:
    found = seen(store)

    assert (0, 0, {}, None) == (found.answers, found.with_region, found.trends, found.accuracy)


def test_the_worst_examples_come_first(store, answers) -> None:
    with store.ledger.engine.begin() as connection:
        found = recent.examples(connection, NAME, 3, "relevance_mass", limit=5)
    located = [each for each in answers if each.region and each.model.version == 3]
    expected = sorted(located, key=lambda each: each.measures["relevance_mass"])[:5]

    assert [each.prediction_id for each in expected] == [each.prediction_id for each in found]


def test_what_has_a_verdict_is_not_reviewed_again(store, answers) -> None:
    name = entries.identifier(9000)
    last = answers[-1].prediction_id
    store.add(records.ReviewEvent(name, NOW, last, "unsure", "ada"))
    with store.ledger.engine.begin() as connection:
        found = recent.unreviewed(connection, NAME, limit=10)

    expected = [each.prediction_id for each in reversed(answers[:-1])][:10]
    assert expected == [each.record.prediction_id for each in found]
    assert all(bool(each.measures) == bool(each.record.region) for each in found)


def test_what_probes_found_is_shown(store, answers) -> None:
    for number, each in enumerate(answers[-4:]):
        name = entries.identifier(9000 + number)
        measures = {"part_reliance": number / 4, "flip": 1.0}
        store.add(records.ProbeEvent(name, NOW, each.prediction_id, "all", "client", measures))

    found = seen(store).trends[recent.RELIANCE]
    assert (0.375, 4, None) == (found.estimate.value, found.estimate.observations, found.chance)


def test_shares_of_few_do_not_collapse_to_certainty() -> None:
    found = recent.estimate(np.array([0.0, 0.0, 0.0]))

    assert (0.0, 0.0) == (found.value, found.low)
    assert found.high > 0.5
    assert intervals.wilson(1, 3) == recent.estimate(np.array([1.0, 0.0, 0.0]))


def test_decided_classes_are_counted(store, answers) -> None:
    """As a loop over the same answers counts them."""
    store.add(
        records.LabelEvent(entries.identifier(9001), NOW, answers[0].prediction_id, "0", "a")
    )
    expected = Counter(each.decided.label for each in answers)
    with store.ledger.engine.begin() as connection:
        found = recent.decided(connection, NAME, None, "")

    assert expected == {each.label: each.answers for each in found}
    assert 1.0 == pytest.approx(sum(each.share for each in found))
    assert sorted(expected, key=int) == [each.label for each in found]
    assert [answers[0].decided.label] == [each.label for each in found if each.right]
