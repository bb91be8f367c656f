"""Mixture e-SR against its definition, and the promise it makes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.detectors.esr import MixtureESR
from audit.detectors.reference import Reference
from audit.errors import BaselineError

UNIT = st.floats(0, 1)
FLOORS = st.floats(0.05, 0.95)


@settings(deadline=None)
@given(st.lists(UNIT, min_size=1, max_size=25), FLOORS)
def test_the_statistic_is_the_mean_over_bets_of_the_sum_over_starts(values, floor) -> None:
    """A slower truth: Σ over change points j of Π_{t ≥ j} (1 + λ (m - x_t)), for each bet λ."""
    detector = MixtureESR(floor=floor, threshold=1e12)
    for value in values:
        detector.update(value)
    total = 0.0
    for i in range(5):
        bet = 0.95 / (1 - floor) * 0.05 ** (1 - i / 4)
        gains = [1 + bet * (floor - value) for value in values]
        total += sum(np.prod(gains[start:]) for start in range(len(gains)))

    assert total / 5 == pytest.approx(detector.statistic, rel=1e-9)


@settings(deadline=None)
@given(st.lists(UNIT, max_size=30), FLOORS, UNIT)
def test_an_observation_above_the_floor_adds_at_most_one(values, floor, fraction) -> None:
    detector = MixtureESR(floor=floor, threshold=1e12)
    for value in values:
        detector.update(value)
    before = detector.statistic
    detector.update(floor + fraction * (1 - floor))

    assert detector.statistic <= before + 1.0 + 1e-9 * before


@settings(deadline=None)
@given(st.lists(st.tuples(UNIT, UNIT), min_size=1, max_size=30), FLOORS)
def test_lower_observations_never_leave_less_evidence(pairs, floor) -> None:
    low, high = MixtureESR(floor=floor, threshold=1e12), MixtureESR(floor=floor, threshold=1e12)
    for pair in pairs:
        low.update(min(pair))
        high.update(max(pair))

    assert low.statistic >= high.statistic * (1 - 1e-12)


def test_the_mean_statistic_after_n_observations_at_the_floor_is_n() -> None:
    """The martingale behind the promise, averaged over replicates at the exact floor."""
    rng = np.random.default_rng(11)
    totals = []
    for _ in range(4000):
        detector = MixtureESR(floor=0.5, threshold=1e9)
        for value in rng.random(10) < 0.5:
            detector.update(float(value))
        totals.append(detector.statistic)

    assert 10.0 == pytest.approx(np.mean(totals), abs=4 * np.std(totals) / np.sqrt(4000))


@pytest.mark.parametrize(
    ("mean", "index"),
    [(0.6, None), (0.5, 1146), (0.4, 1032)],
    ids=["no change", "falls by 0.10", "falls by 0.20"],
)
def test_exact_indices_for_a_seed(mean, index) -> None:
    rng = np.random.default_rng(20)
    reference = Reference.of(rng.beta(6, 4, 1000))
    detector = MixtureESR.watching(reference, threshold=20_000)
    for value in rng.beta(6, 4, 1000):
        detector.update(value)
    for value in rng.beta(10 * mean, 10 * (1 - mean), 1000):
        detector.update(value)

    assert index == detector.alarmed_at


def test_bad_from_day_one_is_found_without_a_healthy_start() -> None:
    rng = np.random.default_rng(5)
    detector = MixtureESR.watching(Reference(0.6, 0.148, 1000), threshold=20_000)
    for value in rng.beta(4.5, 5.5, 200):
        detector.update(value)

    assert detector.alarmed_at is not None
    assert detector.alarmed_at <= 60


def test_the_floor_takes_the_error_of_the_reference_into_account() -> None:
    detector = MixtureESR.watching(Reference(0.6, 0.15, 900), threshold=1000, tolerance=0.02)

    assert 0.6 - 2 * 0.15 / 30 - 0.02 == pytest.approx(detector.floor)


def test_a_reference_too_low_to_fall_is_refused() -> None:
    with pytest.raises(BaselineError, match="cannot fall"):
        MixtureESR.watching(Reference(0.02, 0.1, 100), threshold=1000)


@pytest.mark.parametrize(
    ("floor", "threshold", "bets"),
    [(0.0, 10, 8), (1.0, 10, 8), (float("nan"), 10, 8), (0.5, 0.5, 8), (0.5, 10, 1)],
)
def test_what_cannot_keep_a_promise_is_refused(floor, threshold, bets) -> None:
    with pytest.raises(BaselineError):
        MixtureESR(floor=floor, threshold=threshold, bets=bets)


@pytest.mark.slow
def test_the_run_length_is_at_least_the_threshold() -> None:
    """At the floor itself, where the promise is tightest, for three unlike distributions."""
    threshold = 200
    draws = {
        "coin": lambda rng: float(rng.random() < 0.5),
        "uniform": lambda rng: float(rng.random()),
        "rare zeros": lambda rng: 0.0 if rng.random() < 0.2 else 0.625,
    }
    for name, draw in draws.items():
        rng = np.random.default_rng(8)
        lengths = []
        for _ in range(150):
            detector = MixtureESR(floor=0.5, threshold=threshold)
            while not detector.drift_detected and detector.observations < 4000:
                detector.update(draw(rng))
            lengths.append(detector.observations)

        assert np.mean(lengths) >= threshold, name
