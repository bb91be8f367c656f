"""The watch: what it feeds to which detector, and that it is a function of the events alone."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import alarms, records
from audit.alarms import State
from audit.canonical import Packed
from audit.detectors.family import Series, Side
from audit.detectors.reference import Reference
from audit.detectors.strangeness import StrangenessReference
from audit.errors import DetectorStateError
from audit.policy import Plan
from audit.watch.healthy import HEALTHY
from audit.watch.watched import WARM_UP, Watched
from audit.watch.watching import FED_PER_RECORD, Promise, Watching
from tests.entries import START, identifier, prediction


class Card:
    """References of a card, some of them missing."""

    def __init__(
        self, known: dict[str, Reference], strangers: StrangenessReference | None
    ) -> None:
        self._known, self._strangers = known, strangers

    def reference(self, series: Series) -> Reference | None:
        return self._known.get(series.measure)

    def strangeness(self, _model: str, _version: int) -> StrangenessReference | None:
        return self._strangers


GOOD = Reference(0.6, 0.15, 1000)
RARE = Reference(0.05, 0.2, 1000)
CARD = Card(
    {
        "activation_recall": GOOD,
        "relevance_mass": GOOD,
        "confidence": GOOD,
        "part_reliance": RARE,
    },
    None,
)


def answer(number: int, recall: float, label: str = "7") -> records.PredictionRecord:
    rated = records.RatedClass(7, label, 0.6)
    return replace(
        prediction(number),
        classes=(rated,),
        measures={"activation_recall": recall, "relevance_mass": 0.6},
    )


def fed(watching: Watching) -> dict[tuple[str, str], int]:
    return {
        (each.series.measure, each.series.side.value): each.detector.observations
        for each in watching.watched.values()
        if each.detector is not None
    }


def test_a_record_feeds_each_side_of_each_measure_once() -> None:
    watching = Watching(Promise(), CARD)
    watching.answered(answer(1, 0.6))

    assert fed(watching) == {
        ("activation_recall", "low"): 1,
        ("activation_recall", "high"): 1,
        ("relevance_mass", "low"): 1,
        ("confidence", "low"): 1,
    }


def test_no_record_feeds_more_than_the_promise_counts() -> None:
    watching = Watching(Promise(), CARD)
    record = answer(1, 0.6)
    watching.answered(record)
    watching.located(record, "reviewer", record.measures)
    watching.probed(record, "client", {"part_reliance": 0.0})

    assert len(watching.watched) <= FED_PER_RECORD
    assert Promise(10, 100).family.threshold == 10 * 100 * FED_PER_RECORD


def test_only_reliance_on_a_part_of_a_probe_is_watched() -> None:
    watching = Watching(Promise(), CARD)
    watching.probed(answer(1, 0.6), "client", {"flip": 1.0, "directed_flip": 1.0})

    assert fed(watching) == {}

    watching.probed(answer(2, 0.6), "client", {"directed_flip": 1.0, "part_reliance": 1.0})

    assert fed(watching) == {("part_reliance", "high"): 1}


@pytest.mark.parametrize("known", [None, Reference(0.6, 0.3, 200)])
def test_a_shortcut_of_the_first_day_is_not_taken_for_normal(known: Reference | None) -> None:
    """Neither the version's own validation images nor its first answers may excuse it."""
    card = Card({} if known is None else {"part_reliance": known}, None)
    watching = Watching(Promise(), card)
    moved = []
    for number in range(200):
        moved += watching.probed(answer(number, 0.6), "client", {"part_reliance": 0.6})

    assert [State.WARNING, State.ALARM] == [each.state for each in moved]
    [each] = watching.watched.values()
    assert each.reference == HEALTHY


def test_a_version_better_than_the_bound_is_compared_with_itself() -> None:
    better = Reference(0.02, 0.05, 500)
    watching = Watching(Promise(), Card({"part_reliance": better}, None))
    watching.probed(answer(1, 0.6), "client", {"part_reliance": 0.0})

    [each] = watching.watched.values()
    assert each.reference == better


def test_an_alarm_over_the_measure_before_keeps_its_name_and_may_still_ask() -> None:
    old = Series("digits", 1, "directed_flip", Side.HIGH, "7", "client")
    watching = Watching(Promise(), CARD)
    text = Watched.of_reference(
        old,
        alarms.begin("a" * 26, old, threshold=100.0, now=START),
        Promise().family,
        RARE,
        0.02,
    ).to_text()
    watching.load({"old": text})
    watching.probed(answer(1, 0.6), "client", {"directed_flip": 1.0, "part_reliance": 0.0})

    assert watching.watched["old"].series == old
    assert watching.watched["old"].detector.observations == 0
    assert "directed_flip" in Plan().measures


def test_sources_and_classes_are_never_mixed() -> None:
    watching = Watching(Promise(), CARD)
    for number, (source, label) in enumerate(
        [("client", "3"), ("client", "7"), ("template", "7")]
    ):
        record = answer(number, 0.6, label)
        watching.located(record, source, record.measures)
    found = {(each.series.source, each.series.class_label) for each in watching.watched.values()}

    assert found == {("client", "3"), ("client", "7"), ("template", "7")}


@pytest.mark.parametrize(("value", "side"), [(0.1, "low"), (0.99, "high")])
def test_either_change_raises_its_own_alarm(value: float, side: str) -> None:
    watching = Watching(Promise(), CARD)
    moved = [each for number in range(200) for each in watching.answered(answer(number, value))]
    raised = [each for each in moved if each.state == "alarm"]

    assert [("activation_recall", side)] == [(each.measure, each.side) for each in raised]
    assert raised[0].evidence["value"] >= raised[0].evidence["threshold"]
    assert raised[0].evidence["reference"] == 0.6


def test_an_alarm_of_few_records_comes_to_rest_on_many() -> None:
    """A grave fault is found after few records; what the policy asks for comes later."""
    watching = Watching(Promise(), CARD)
    moved = [each for number in range(120) for each in watching.answered(answer(number, 0.0))]
    raised = next(each for each in moved if each.state == "alarm")
    standing = next(e for e in watching.standing("digits") if e.series.side == "low")

    assert raised.evidence["observations"] < 50
    assert standing.evidence.observations == 120
    assert standing.evidence.value == raised.evidence["value"]


def test_strange_embeddings_raise_an_alarm() -> None:
    rng = np.random.default_rng(3)
    strangers = StrangenessReference.fit(rng.normal(size=(500, 8)), rng.normal(size=(2000, 8)))
    watching = Watching(Promise(), Card({}, strangers))
    for number in range(300):
        record = replace(
            answer(number, 0.6), embedding=Packed.of(rng.normal(size=8), "<f2"), region=None
        )
        watching.answered(record)
    assert not watching.standing("digits")
    for number in range(300, 400):
        record = replace(
            answer(number, 0.6), embedding=Packed.of(rng.normal(3, 1, size=8), "<f2"), region=None
        )
        watching.answered(record)

    assert ["strangeness"] == [each.series.measure for each in watching.standing("digits")]


def test_an_embedding_that_is_not_finite_is_as_strange_as_can_be() -> None:
    rng = np.random.default_rng(3)
    strangers = StrangenessReference.fit(rng.normal(size=(500, 8)), rng.normal(size=(500, 8)))
    watching = Watching(Promise(), Card({}, strangers))
    broken = Packed.of(np.full(8, np.nan), "<f2")
    watching.answered(replace(answer(1, 0.6), embedding=broken))
    [each] = [each for each in watching.watched.values() if each.series.measure == "strangeness"]

    assert each.latest == pytest.approx(1 / 501)


def test_a_reference_from_traffic_is_frozen_and_named() -> None:
    watching = Watching(Promise(), Card({}, None))
    rng = np.random.default_rng(1)
    for number in range(WARM_UP + 10):
        watching.answered(answer(number, float(rng.beta(6, 4))))
    [each] = [
        each
        for each in watching.watched.values()
        if (each.series.measure, each.series.side) == ("activation_recall", Side.LOW)
    ]

    assert (each.origin, each.warming, each.detector.observations) == ("traffic", [], 10)
    assert each.reference.observations == WARM_UP


def test_a_measure_that_leaves_no_room_is_not_watched_and_says_why() -> None:
    watching = Watching(Promise(), Card({"activation_recall": Reference(0.0, 0.0, 100)}, None))
    for number in range(300):
        watching.answered(answer(number, 0.0))
    [each] = [
        each
        for each in watching.watched.values()
        if (each.series.measure, each.series.side) == ("activation_recall", Side.LOW)
    ]

    assert each.detector is None
    assert "cannot fall" in each.unwatchable
    assert [] == each.warming


def test_a_closed_alarm_takes_nothing_more() -> None:
    watching = Watching(Promise(), CARD)
    for number in range(100):
        watching.answered(answer(number, 0.1))
    moved = watching.replaced("digits", 4, actor="gate", now=START)
    before = {key: each.to_text() for key, each in watching.watched.items()}
    watching.answered(answer(1000, 0.1))

    assert ["closed"] == [each.state for each in moved]
    assert {State.CLOSED} == {each.alarm.state for each in watching.watched.values()}
    assert before == {key: each.to_text() for key, each in watching.watched.items()}


def test_an_acknowledgement_of_nothing_changes_nothing() -> None:
    watching = Watching(Promise(), CARD)
    watching.answered(answer(1, 0.6))
    [*all_of] = watching.watched.values()
    for alarm_id in ("none", all_of[0].alarm.alarm_id):
        event = records.AcknowledgementEvent(identifier(2), START, alarm_id, "ada", "seen")
        assert [] == list(watching.acknowledged(event))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=60), st.integers(0, 59), st.booleans())
def test_a_state_that_is_stored_and_loaded_anywhere_goes_on_alike(
    values: list[float],
    cut: int,
    known: bool,  # noqa: FBT001 - hypothesis draws it
) -> None:
    """Restart = no restart, bit by bit."""
    card = CARD if known else Card({}, None)
    whole, part = Watching(Promise(), card), Watching(Promise(), card)
    for number, value in enumerate(values):
        whole.answered(answer(number, value))
        part.answered(answer(number, value))
        if number == cut:
            stored = {each.key: each.text for each in part.settle() if each.text is not None}
            part = Watching(Promise(), card)
            part.load(stored)

    assert {key: each.to_text() for key, each in whole.watched.items()} == {
        key: each.to_text() for key, each in part.watched.items()
    }


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"series": 1}'])
def test_what_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(DetectorStateError):
        Watched.from_text(text)
