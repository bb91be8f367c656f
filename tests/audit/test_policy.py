from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import alarms, policy
from audit.alarms import Evidence
from audit.detectors.base import Level
from audit.detectors.family import Series, Side
from audit.policy import PastRequest, Plan

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLAN = Plan()
ENOUGH = {"client": 400}


def alarm(
    name: str = "a1", *, level: Level = Level.ALARM, observations: int = 80, measure="flip"
) -> alarms.Alarm:
    series = Series("digits", 3, measure, Side.LOW, "7", "client")
    begun = alarms.begin(name, series, threshold=100.0, now=NOW)
    return alarms.observe(begun, level, Evidence(observations, 150.0, 100.0), now=NOW)


def past(hours: float, *, settled: bool = True) -> PastRequest:
    return PastRequest(f"r{hours}", NOW - timedelta(hours=hours), settled)


def decided(
    *found: alarms.Alarm, plan: Plan = PLAN, regions=ENOUGH, requests=()
) -> policy.Decision:
    return policy.decide(found, plan, regions=regions, requests=requests, now=NOW)


def test_a_raised_alarm_with_evidence_asks_for_a_retraining() -> None:
    decision = decided(alarm("a2"), alarm("a1"))

    assert decision.retrain
    assert ("a1", "a2") == decision.alarm_ids
    assert "digits/3: flip low (class 7, region by client)" in decision.reasons[0].text


@pytest.mark.parametrize(
    ("found", "changes", "said"),
    [
        ([], {}, "no alarm stands"),
        ([alarm(level=Level.WARNING)], {}, "no alarm stands"),
        ([alarm(observations=49)], {}, "rests on 49 of 50"),
        ([alarm()], {"regions": {"client": 49, "reviewer": 900}}, "49 of 50 records"),
        ([alarm(measure="strangeness")], {}, "informs"),
        ([alarm(measure="relevance_mass")], {"plan": PLAN.without_heatmaps}, "informs"),
        ([alarm(measure="activation_recall")], {"plan": PLAN.without_heatmaps}, "informs"),
        ([alarm()], {"plan": replace(PLAN, needs_acknowledgement=True)}, "acknowledge"),
        ([alarm()], {"requests": [past(100, settled=False)]}, "not settled"),
        ([alarm()], {"requests": [past(23)]}, "cooling down until 2026-03-01T13:00:00+00:00"),
        ([alarm()], {"requests": [past(n) for n in (25, 80, 300, 700)]}, "4 of 4 requests"),
        ([alarm()], {"plan": replace(PLAN, budget=0)}, "0 of 0"),
    ],
)
def test_it_waits_and_says_why(found, changes, said) -> None:
    decision = decided(*found, **changes)

    assert not decision.retrain
    assert decision.alarm_ids == ()
    assert any(said in reason.text for reason in decision.reasons)


@pytest.mark.parametrize("measure", ["part_reliance", "directed_flip"])
def test_reliance_asks_whatever_the_heatmaps_are_worth(measure: str) -> None:
    assert decided(alarm(measure=measure), plan=PLAN.without_heatmaps).retrain


def test_an_acknowledged_alarm_may_ask_where_a_person_is_needed() -> None:
    seen = alarms.acknowledge(alarm(), actor="ada", reason="stickers", now=NOW)

    assert decided(seen, plan=replace(PLAN, needs_acknowledgement=True)).retrain


def test_answered_and_closed_alarms_ask_no_more() -> None:
    answered = alarms.request(alarm(), "r1", actor="policy", reason="x", now=NOW)

    assert not decided(answered).retrain


def test_old_requests_leave_the_budget() -> None:
    assert decided(alarm(), requests=[past(24 * 31 + n) for n in range(9)]).retrain


def test_a_thousand_alarms_make_one_request() -> None:
    requests: list[PastRequest] = []
    for number in range(1000):
        found = [alarm(f"a{each}") for each in range(number % 7 + 1)]
        if decided(*found, requests=requests).retrain:
            requests.append(PastRequest("r", NOW, settled=False))

    assert len(requests) == 1


@given(
    st.lists(st.floats(0, 2000), max_size=8),
    st.integers(0, 5),
    st.floats(0, 200),
    st.integers(0, 120),
)
def test_no_request_ever_breaks_the_plan(ages, budget, cool_down, evidence) -> None:
    plan = Plan(budget=budget, cool_down=timedelta(hours=cool_down))
    requests = [past(age) for age in ages]
    decision = decided(alarm(observations=evidence), plan=plan, requests=requests)
    allowed = (
        evidence >= plan.minimum_evidence
        and all(timedelta(hours=age) >= plan.cool_down for age in ages)
        and sum(timedelta(hours=age) < timedelta(hours=720) for age in ages) < budget
    )

    assert allowed == decision.retrain
    assert decision.reasons


@pytest.mark.parametrize(
    "wrong",
    [
        {"minimum_evidence": 0},
        {"budget": -1},
        {"cool_down": timedelta(-1)},
        {"budget_window": timedelta(0)},
    ],
)
def test_an_impossible_plan_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"at least|not negative"):
        Plan(**wrong)


def test_two_decisions_of_one_gist_differ_in_numbers_only() -> None:
    earlier = decided(alarm(observations=10))
    later = decided(alarm(observations=49))

    assert earlier.reasons != later.reasons
    assert earlier.gist == later.gist == {(earlier.reasons[0].kind, "a1")}


def test_a_clock_that_went_back_holds_nobody_to_where_it_was() -> None:
    ahead = [past(-24 * 400 - hours) for hours in range(5)]

    assert decided(alarm(), requests=ahead).retrain


@pytest.mark.parametrize(("hours", "said"), [(-23, "cooling"), (23, "cooling"), (25, "")])
def test_a_request_just_ahead_still_cools(hours: float, said: str) -> None:
    reasons = decided(alarm(), requests=[past(hours)]).reasons

    assert (said == "cooling") == any(each.kind == "cooling" for each in reasons)
