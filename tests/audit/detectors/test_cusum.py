import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.detectors.cusum import Cusum, siegmund_limit, siegmund_run_length
from audit.detectors.reference import Reference
from audit.errors import BaselineError


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=40))
def test_the_statistic_is_the_largest_sum_over_starts(values) -> None:
    """A slower truth: the maximum over every start, also the empty one, of the sum up to now."""
    detector = Cusum(mean=0.5, deviation=2.0, limit=1e6, warning=1e5)
    for value in values:
        detector.update(value)
    steps = [(0.5 - value) / 2.0 - 0.25 for value in values]
    best = max(sum(steps[start:]) for start in range(len(steps) + 1))

    assert best == pytest.approx(detector.statistic, abs=1e-9)


@pytest.mark.parametrize(
    ("limit", "run_length"), [(8, 738), (12, 5_721), (16, 42_644), (20, 315_574)]
)
def test_the_run_lengths_of_siegmunds_formula(limit, run_length) -> None:
    assert run_length == pytest.approx(siegmund_run_length(limit), abs=1)
    assert limit == pytest.approx(siegmund_limit(siegmund_run_length(limit)))


@given(st.floats(1, 1e9))
def test_the_limit_is_the_smallest_that_reaches_the_run_length(run_length) -> None:
    limit = siegmund_limit(run_length)

    assert siegmund_run_length(limit) >= run_length
    assert limit < 1e-12 or siegmund_run_length(limit * 0.999) < run_length


def test_the_formula_agrees_with_a_simulation() -> None:
    rng = np.random.default_rng(2)
    sums, lengths = np.zeros(400), np.zeros(400)
    running = np.ones(400, bool)
    while running.any():
        sums = np.maximum(0, sums - rng.standard_normal(400) - 0.25)
        lengths += running
        running &= sums < 6.0

    assert siegmund_run_length(6.0) == pytest.approx(lengths.mean(), rel=0.2)


def test_it_says_when_the_change_began_and_how_large_it_is() -> None:
    rng = np.random.default_rng(1)
    detector = Cusum.watching(Reference(0.6, 0.15, 1000), run_length=20_000)
    for value in rng.normal(0.6, 0.15, 500):
        detector.update(value)
    for value in rng.normal(0.4, 0.15, 60):
        detector.update(value)

    assert detector.drift_detected
    assert 500 == pytest.approx(detector.began_at, abs=8)
    assert 0.4 == pytest.approx(detector.mean_since, abs=0.05)


def test_nothing_has_begun_before_the_first_observation() -> None:
    assert Cusum(mean=0.5, deviation=0.1, limit=5, warning=1).mean_since is None


@pytest.mark.parametrize("deviation", [0.0, -1.0, float("nan")])
def test_a_reference_that_never_varies_is_refused(deviation) -> None:
    with pytest.raises(BaselineError):
        Cusum(mean=0.5, deviation=deviation, limit=5, warning=1)


@pytest.mark.parametrize("run_length", [0.5, float("inf"), float("nan")])
def test_an_impossible_run_length_is_refused(run_length) -> None:
    with pytest.raises(BaselineError):
        siegmund_limit(run_length)
