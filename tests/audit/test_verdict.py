"""One sentence about the reasons of a model: every branch, and no more than intervals carry."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import intervals, verdict
from audit.intervals import Estimate
from audit.verdict import TOLERATED, Beyond, Kind, Known, Raised, Step, judge

NOW = datetime(2026, 3, 6, 12, 0, tzinfo=UTC)  # a Friday
TUESDAY = datetime(2026, 3, 3, 23, 57, tzinfo=UTC)
LOW = intervals.wilson(4, 400)
HIGH = intervals.wilson(140, 400)
ABOVE = Beyond(Estimate(0.6, 0.55, 0.65, 400, 0.95), 0.3)
CALM = Known(version=3, answers=428, with_region=428, reliance=LOW, recall=ABOVE)
FOLLOWS = Raised("part_reliance", "", "alarm", TUESDAY, 0.02)
UNLIKE = Raised("strangeness", "", "alarm", TUESDAY)


@pytest.mark.parametrize(
    ("known", "kind", "colour", "step"),
    [
        (Known(version=None), Kind.EMPTY, "unknown", Step.PROMOTE),
        (Known(version=1, audited=False), Kind.BLIND, "unknown", Step.START_AUDITOR),
        (replace(CALM, raised=[FOLLOWS]), Kind.WRONG_REASON, "alarm", Step.REVIEW),
        (
            replace(CALM, raised=[replace(FOLLOWS, state="acknowledged")]),
            Kind.WRONG_REASON,
            "alarm",
            Step.RETRAIN,
        ),
        (
            replace(CALM, raised=[replace(FOLLOWS, state="requested")]),
            Kind.WRONG_REASON,
            "alarm",
            Step.FOLLOW_RUN,
        ),
        (
            replace(CALM, raised=[FOLLOWS], retraining=True),
            Kind.WRONG_REASON,
            "alarm",
            Step.FOLLOW_RUN,
        ),
        (
            replace(CALM, raised=[FOLLOWS], trial=(4, "canary")),
            Kind.WRONG_REASON,
            "alarm",
            Step.FOLLOW_TRIAL,
        ),
        (replace(CALM, raised=[UNLIKE]), Kind.DRIFT, "warning", Step.LOOK_AT_ALARMS),
        (replace(CALM, raised=[UNLIKE, FOLLOWS]), Kind.WRONG_REASON, "alarm", Step.REVIEW),
        (replace(CALM, trial=(4, "shadow")), Kind.TRIAL, "warning", Step.FOLLOW_TRIAL),
        (Known(version=1), Kind.SILENT, "unknown", Step.ASK),
        (Known(version=1, promoted=TUESDAY), Kind.FRESH, "unknown", Step.ASK),
        (Known(version=1, answers=9), Kind.UNWATCHED, "unknown", Step.SEND_REGIONS),
        (replace(CALM, reliance=HIGH), Kind.LEANING, "warning", Step.RETRAIN),
        (replace(CALM, learning=(100, 200)), Kind.LEARNING, "unknown", Step.WAIT),
        (CALM, Kind.RIGHT_REASON, "ok", Step.NONE),
        (replace(CALM, reliance=None), Kind.UNPROBED, "unknown", Step.WAIT),
        (replace(CALM, reliance=None, recall=None), Kind.UNPROBED, "unknown", Step.WAIT),
        (replace(CALM, reliance=intervals.wilson(1, 20)), Kind.UNDECIDED, "unknown", Step.WAIT),
    ],
)
def test_each_state_has_its_sentence(known, kind, colour, step) -> None:
    found = judge(known, now=NOW)

    assert (kind, colour, step) == (found.kind, found.colour, found.step)
    assert found.sentence.endswith(".")
    assert found.label


def test_the_proof_is_the_intervention_and_what_it_was_before() -> None:
    found = judge(replace(CALM, raised=[FOLLOWS], reliance=HIGH), now=NOW)

    assert found.sentence == (
        "Right for the wrong reason since Tuesday 23:57: what should not matter moves "
        "its answers by 35 % (30 % to 40 %), 2 % when it was made."
    )


def test_an_alarm_of_one_class_names_it() -> None:
    raised = Raised("relevance_mass", "pneumonia", "alarm", TUESDAY)

    found = judge(replace(CALM, raised=[raised]), now=NOW)

    assert Kind.ATTENTION == found.kind
    assert found.sentence.startswith("Perhaps"), "a heatmap is a hint"
    assert "“pneumonia”" in found.sentence
    assert "0.60 of them lies on it, chance is 0.30" in found.sentence
    assert "moves its answers by 1 %" in found.sentence


def test_an_alarm_without_measures_still_says_what_happened() -> None:
    bare = replace(CALM, reliance=None, recall=None)
    mass = Raised("activation_recall", "", "alarm", TUESDAY)

    assert "moves its answers" in judge(replace(bare, raised=[FOLLOWS]), now=NOW).sentence
    assert (
        "have moved off the evidence; what its answers follow is not known"
        in judge(replace(bare, raised=[mass]), now=NOW).sentence
    )


def test_drift_says_what_is_known_of_the_reasons() -> None:
    known = judge(replace(CALM, raised=[UNLIKE]), now=NOW).sentence
    unknown = judge(replace(CALM, raised=[UNLIKE], with_region=0, reliance=None), now=NOW).sentence

    assert "its reasons have not: what should not matter moves answers by 1 %" in known
    assert "nothing says whether its reasons have" in unknown


def test_what_is_heard_at_chance_is_not_called_evidence() -> None:
    at_chance = replace(CALM, reliance=None, recall=Beyond(ABOVE.estimate, 0.6))

    assert "nothing shows its reasons" in judge(at_chance, now=NOW).sentence


def test_an_old_moment_has_its_date() -> None:
    assert "Friday 11:00" == verdict.when(NOW - timedelta(hours=1), NOW)
    assert "2026-02-01 12:00" == verdict.when(datetime(2026, 2, 1, 12, tzinfo=UTC), NOW)


@given(
    followed=st.integers(0, 300),
    probed=st.integers(1, 300),
    regions=st.integers(0, 300),
    learning=st.none() | st.just((3, 200)),
)
def test_green_is_never_more_than_the_interval_carries(
    followed, probed, regions, learning
) -> None:
    reliance = intervals.wilson(min(followed, probed), probed)
    known = replace(CALM, with_region=regions, reliance=reliance, learning=learning)

    found = judge(known, now=NOW)

    assert (found.colour == "ok") == (reliance.high <= TOLERATED and learning is None)


def test_nothing_but_measured_reasons_is_green() -> None:
    """The green of a model that nobody watches was the fault that this sentence replaces."""
    unmeasured = [
        Known(version=1),
        Known(version=1, answers=1000),
        replace(CALM, reliance=None),
        replace(CALM, trial=(4, "canary")),
    ]

    assert {"ok"}.isdisjoint(judge(each, now=NOW).colour for each in unmeasured)


def test_an_alarm_of_a_measure_from_before_is_still_about_reasons() -> None:
    found = judge(replace(CALM, raised=[replace(FOLLOWS, measure="directed_flip")]), now=NOW)

    assert Kind.WRONG_REASON == found.kind
    assert "moves its answers" in found.sentence
