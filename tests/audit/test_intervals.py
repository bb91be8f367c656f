import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import intervals


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_ends_are_where_the_score_test_is_on_the_edge(counts) -> None:
    """A slower truth: at both ends |share - p| is z standard errors under p."""
    successes, n = counts
    estimate = intervals.wilson(successes, n)
    z = 1.959963984540054
    for end in {estimate.low, estimate.high} - {0.0, 1.0}:
        error = math.sqrt(end * (1 - end) / n)

        assert z * error == pytest.approx(abs(estimate.value - end), rel=1e-6)
    assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0


def test_wilson_covers_what_it_says() -> None:
    rng = np.random.default_rng(1)
    for share in (0.02, 0.3, 0.9):
        drawn = [intervals.wilson(int(k), 60) for k in rng.binomial(60, share, 1500)]
        covered = np.mean([each.low <= share <= each.high for each in drawn])

        assert covered >= 0.93


@pytest.mark.parametrize(("successes", "observations"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(successes, observations) -> None:
    with pytest.raises(ValueError, match="successes"):
        intervals.wilson(successes, observations)


def test_no_level_is_refused() -> None:
    with pytest.raises(ValueError, match="level"):
        intervals.wilson(1, 2, level=1.0)
