"""A candidate on trial: what stops it, when it may go on, and what the store knows of it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import records
from audit.canonical import moment
from audit.comparisons import ComparisonRecord
from audit.errors import PlanError
from audit.rollout import FEWEST, FRESH_SECONDS, Compared, Evidence, Judgement, Limits, judge
from audit.store import comparisons
from tests.entries import START

LIMITS = Limits(50, 60.0, "go_on", errors=0.02, latency_milliseconds=50.0, latency_ratio=2.0)
SAME = Compared(disagreement=0.2, recall_fall=0.1)
FINE = Evidence(requests=50, compared=50, milliseconds=5.0, champion_milliseconds=5.0)


def judged(
    limits: Limits,
    evidence: Evidence,
    seconds: float,
    *,
    silent: float = 0.0,
    began: float = 0.0,
    compared: Compared | None = None,
) -> Judgement:
    """Judge `seconds` after the phase began, by evidence that ends `silent` seconds before."""
    now = START + timedelta(seconds=seconds)
    return judge(
        limits,
        replace(evidence, known_until=now - timedelta(seconds=silent)),
        since=START,
        began=START + timedelta(seconds=began),
        now=now,
        compared=compared,
    )


@pytest.mark.parametrize(
    ("evidence", "seconds", "step", "words"),
    [
        (FINE, 1.0, "go_on", "nothing beyond the plan"),
        (replace(FINE, requests=49), 1.0, "wait", "49 of 50"),
        (replace(FINE, requests=3), 61.0, "go_on", "with what there is"),
        (Evidence(), 61.0, "go_on", "0 of 50"),
        (replace(FINE, alarms=("alarm x",)), 1.0, "withdraw", "alarm x"),
        (replace(FINE, failed=2, failure="NaN"), 1.0, "withdraw", "2 of 50 requests failed"),
        (replace(FINE, failed=1, failure="NaN"), 1.0, "go_on", "nothing"),
        (Evidence(requests=8, failed=8, failure="boom"), 1.0, "withdraw", "boom"),
        (Evidence(requests=2, failed=2, failure="boom"), 1.0, "wait", "2 of 50"),
        (Evidence(unusable=1, failure="no graph"), 0.1, "withdraw", "could not load it: no graph"),
        (replace(FINE, requests=10, milliseconds=50.1), 1.0, "withdraw", "too slow: 50.1 ms"),
        (replace(FINE, milliseconds=70.0, champion_milliseconds=40.0), 1.0, "go_on", "nothing"),
        (replace(FINE, milliseconds=float("nan")), 1.0, "withdraw", "too slow"),
        (replace(FINE, differed=30), 1.0, "withdraw", "30 of 50 answers differ"),
        (replace(FINE, differed=12), 1.0, "go_on", "nothing"),
        (replace(FINE, falls=(0.5, 0.4) * 10), 1.0, "withdraw", "recall falls by 0.450"),
        (replace(FINE, falls=(0.5, -0.4) * 10), 1.0, "go_on", "nothing"),
    ],
)
def test_what_is_known_decides(evidence, seconds, step, words) -> None:
    found = judged(LIMITS, evidence, seconds, compared=SAME)

    assert step == found.step, found
    assert words in found.reason


def test_a_plan_may_refuse_too_little_evidence() -> None:
    strict = replace(LIMITS, when_quiet="withdraw")

    assert judged(strict, Evidence(requests=3), 59.0).step == "wait"
    assert judged(strict, Evidence(requests=3), 60.0).step == "withdraw"
    assert "too little evidence" in judged(strict, Evidence(requests=3), 60.0).reason


@pytest.mark.parametrize("requests", [0, 3, 50])
@pytest.mark.parametrize("when_quiet", ["go_on", "withdraw"])
def test_time_of_which_nothing_is_known_is_waited_out_and_then_withdraws(
    requests, when_quiet
) -> None:
    limits = replace(LIMITS, when_quiet=when_quiet)
    evidence = replace(FINE, requests=requests, unknown="the auditor is dead")

    def after(seconds: float) -> Judgement:
        now = START + timedelta(seconds=seconds)
        return judge(limits, evidence, since=START, began=START, now=now, compared=SAME)

    assert {"wait"} == {after(each).step for each in (0.0, 60.0, 119.9)}
    assert {"withdraw"} == {after(each).step for each in (120.0, 1e6)}
    assert "nothing is known about the last 120 s: the auditor is dead" in after(120.0).reasons


def test_what_was_known_long_ago_is_not_known_now(subtests) -> None:
    """Fifty good answers, and then the auditor died."""
    for silent, seconds, step in (
        (FRESH_SECONDS, 30.0, "go_on"),
        (FRESH_SECONDS + 0.1, 30.0, "wait"),
        (119.0, 130.0, "wait"),
        (120.0, 150.0, "withdraw"),
        (120.0, 180.0, "go_on"),  # all of its sixty seconds are known
    ):
        with subtests.test(silent=silent, seconds=seconds):
            assert step == judged(LIMITS, FINE, seconds, silent=silent).step


def test_a_phase_is_as_long_as_what_is_known_of_it() -> None:
    assert judged(LIMITS, Evidence(), 65.0, silent=10.0).step == "wait"
    assert judged(LIMITS, Evidence(), 70.0, silent=10.0).step == "go_on"


def test_a_judge_that_has_just_come_waits_for_what_it_cannot_know_yet() -> None:
    now = START + timedelta(hours=1)
    late = now - timedelta(seconds=119)

    assert judge(LIMITS, FINE, since=START, began=late, now=now).step == "wait"
    assert judge(LIMITS, FINE, since=START, began=START, now=now).step == "withdraw"


def test_bad_news_counts_however_old() -> None:
    bad = replace(FINE, alarms=("alarm x",))

    assert judged(LIMITS, bad, 30.0, silent=29.0).step == "withdraw"
    assert judge(LIMITS, bad, since=START, began=START, now=START).step == "withdraw"


@given(st.integers(0, 200), st.integers(0, 200), st.floats(0, 100))
def test_more_failures_never_make_it_better(requests, failed, seconds) -> None:
    order = {"go_on": 0, "wait": 0, "withdraw": 1}
    fewer = Evidence(requests=requests, failed=min(failed, requests) // 2, failure="x")
    more = replace(fewer, failed=min(failed, requests))

    assert order[judged(LIMITS, fewer, seconds).step] <= order[judged(LIMITS, more, seconds).step]


def test_a_plan_out_of_range_is_refused() -> None:
    with pytest.raises(PlanError, match="negative"):
        replace(LIMITS, requests=-1)
    with pytest.raises(PlanError, match="negative"):
        replace(LIMITS, silence_seconds=-1.0)
    with pytest.raises(PlanError, match="disagreement"):
        Compared(1.5, 0.0)


def comparison(number: int, **changed: object) -> ComparisonRecord:
    values = {
        "event_id": f"c{number}",
        "event_time": START,
        "rollout_id": "r1",
        "phase": "shadow",
        "prediction_id": f"p{number}",
        "model": "m",
        "version": 2,
        "champion": 1,
        "agrees": True,
        "milliseconds": float(number),
        "champion_milliseconds": 1.0,
    }
    return ComparisonRecord(**(values | changed))


def test_a_comparison_survives_its_text() -> None:
    event = comparison(1, measures={"activation_recall": 0.25}, confidence=0.5, failure="é")

    assert records.from_bytes(records.to_bytes(event)) == event


def test_the_store_counts_as_a_loop_does(store) -> None:
    told = [
        comparison(
            1, measures={"activation_recall": 0.2}, champion_measures={"activation_recall": 0.7}
        ),
        comparison(2, agrees=False, dropped=4),
        comparison(3, agrees=None, failure="first", milliseconds=None),
        comparison(4, agrees=None, failure="then", milliseconds=None),
        comparison(5, prediction_id="", agrees=None, failure="no graph", milliseconds=None),
        comparison(6, phase="canary", agrees=None),
        comparison(7, rollout_id="r2"),
    ]
    store.add(*told)
    with store.ledger.engine.begin() as connection:
        found = comparisons.evidence(connection, "r1", "shadow")

    assert (4, 2, 1, 4) == (found.requests, found.failed, found.unusable, found.dropped)
    assert (2, 1) == (found.compared, found.differed)
    assert pytest.approx([0.5]) == list(found.falls)
    assert (1.5, 1.0, "no graph") == (
        found.milliseconds,
        found.champion_milliseconds,
        found.failure,
    )
    assert set() == store.found()


def test_only_standing_alarms_of_the_version_since_then_count(store) -> None:
    def alarm(number: int, **changed: object) -> records.AlarmEvent:
        values = {
            "event_id": f"a{number}",
            "event_time": START,
            "alarm_id": f"alarm{number}",
            "model": "m",
            "version": 2,
            "measure": "activation_recall",
            "class_label": "7",
            "side": "low",
            "source": "client",
            "state": "alarm",
            "evidence": {},
            "actor": "auditor",
        }
        return records.AlarmEvent(**(values | changed))

    store.add(
        alarm(1),
        alarm(2, version=1),
        alarm(3, state="closed"),
        alarm(4, measure="confidence"),
        alarm(5, model="other"),
    )
    with store.ledger.engine.begin() as connection:
        now = comparisons.standing(connection, "m", 2, since=moment(START))
        later = comparisons.standing(connection, "m", 2, since="2999")

    assert ["alarm alarm1: activation_recall is too low for class 7"] == list(now)
    assert [] == list(later)


def test_fewest_is_less_than_the_plan_asks_for() -> None:
    assert FEWEST < LIMITS.requests
