import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.detectors.conformal import ConformalESR, factors
from audit.detectors.strangeness import FEWEST, StrangenessReference, shrunk_covariance
from audit.errors import BaselineError, ObservationError


def embeddings(count: int, *, seed: int, features: int = 12) -> np.ndarray:
    """Correlated, heavy-tailed embeddings from one fixed distribution."""
    mixing = np.random.default_rng(0).standard_normal((features, features))
    return np.random.default_rng(seed).standard_t(5, (count, features)) @ mixing + 3.0


@pytest.fixture(scope="module")
def reference() -> StrangenessReference:
    return StrangenessReference.fit(embeddings(1500, seed=1), embeddings(2000, seed=2))


def test_every_bet_has_mean_one_over_uniform_p_values() -> None:
    """Integrated in x = p^(1/20), dp = 20 x^19 dx, where even the steepest bet is smooth."""
    x = (np.arange(20_000) + 0.5) / 20_000
    bets = np.array([factors(each**20) for each in x])

    assert bets.shape[1] * [1.0] == pytest.approx((bets * 20 * x[:, None] ** 19).mean(0), abs=1e-3)


@given(st.floats(1e-6, 1.0), st.floats(1e-6, 1.0))
def test_a_smaller_p_value_never_leaves_less_evidence(first, second) -> None:
    low, high = sorted((first, second))

    assert all(a >= b for a, b in zip(factors(low), factors(high), strict=True))


def test_exact_index_for_a_seed(reference) -> None:
    detector = ConformalESR(threshold=20_000)
    well, shifted = embeddings(1000, seed=7), embeddings(200, seed=8) * 1.5
    for p in reference.p_values(reference.strangeness(np.concatenate([well, shifted]))):
        detector.update(p)

    assert detector.alarmed_at == 1007


def test_strangeness_is_the_mahalanobis_distance_under_the_shrunk_covariance(reference) -> None:
    fit, fresh = embeddings(1500, seed=1), embeddings(5, seed=3)
    inverse = np.linalg.inv(shrunk_covariance(fit))
    gaps = fresh - fit.mean(0)
    expected = [np.sqrt(gap @ inverse @ gap) for gap in gaps]

    assert expected == pytest.approx(reference.strangeness(fresh), rel=1e-4)


def test_p_values_count_the_calibration_at_least_as_strange(reference) -> None:
    calibration = reference.calibration
    chosen = np.array([0.0, calibration[0], calibration[1000], calibration[-1], 1e9])
    plain = [(sum(calibration >= each) + 1) / (len(calibration) + 1) for each in chosen]
    raised = [min(1, p + 0.5 * np.sqrt(p * (1 - p) / len(calibration))) for p in plain]

    assert raised == pytest.approx(reference.p_values(chosen))


def test_p_values_are_super_uniform_on_fresh_embeddings(reference) -> None:
    p = reference.p_values(reference.strangeness(embeddings(20_000, seed=5)))
    for level in (0.01, 0.05, 0.2, 0.5, 0.9):
        # Two errors add: of the calibration set (2,000) and of the fresh sample.
        error = np.sqrt(level * (1 - level) * (1 / 2000 + 1 / 20_000))

        assert (p <= level).mean() <= level + 3 * error


def test_shrinkage_agrees_with_a_loop_over_outer_products() -> None:
    sample = embeddings(40, seed=4, features=6)
    centred = sample - sample.mean(0)
    covariance = sum(np.outer(x, x) for x in centred) / 40
    target = np.trace(covariance) / 6 * np.eye(6)
    noise = sum(((np.outer(x, x) - covariance) ** 2).sum() for x in centred) / 40**2
    weight = min(1.0, noise / ((covariance - target) ** 2).sum())

    assert 0.0 < weight < 1.0
    assert weight * target + (1 - weight) * covariance == pytest.approx(shrunk_covariance(sample))


def test_more_features_than_observations_still_give_a_reference() -> None:
    rng = np.random.default_rng(0)
    sample = rng.standard_normal((FEWEST, 300)).astype(np.float32)
    sample[:, 100:] = 0.0  # features that never fire
    fresh = rng.standard_normal((FEWEST, 300)).astype(np.float32)
    fresh[:, 100:] = 0.0
    reference = StrangenessReference.fit(sample, fresh)

    assert np.isfinite(reference.strangeness(fresh)).all()


def test_the_reference_survives_its_bytes_bit_by_bit(reference) -> None:
    again = StrangenessReference.from_bytes(reference.to_bytes())
    fresh = embeddings(50, seed=9)

    assert (reference.strangeness(fresh) == again.strangeness(fresh)).all()
    assert (reference.calibration == again.calibration).all()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x80\x04N."])
def test_bytes_that_are_no_reference_are_refused(content) -> None:
    with pytest.raises(BaselineError):
        StrangenessReference.from_bytes(content)


def test_cut_bytes_are_refused(reference) -> None:
    content = reference.to_bytes()
    for length in range(0, len(content), 997):
        with pytest.raises(BaselineError):
            StrangenessReference.from_bytes(content[:length])


@pytest.mark.parametrize(
    ("fit", "calibration"),
    [
        (np.zeros((500, 4)), np.zeros((500, 4))),
        (np.ones((500, 4)), np.ones((500, 5))),
        (np.random.default_rng(0).random((100, 4)), np.random.default_rng(0).random((500, 4))),
        (np.full((500, 4), np.nan), np.ones((500, 4))),
        (np.ones(500), np.ones(500)),
    ],
)
def test_sets_that_cannot_be_a_reference_are_refused(fit, calibration) -> None:
    with pytest.raises(BaselineError):
        StrangenessReference.fit(fit, calibration)


@pytest.mark.parametrize("wrong", [np.zeros((1, 5)), np.zeros(12), np.full((1, 12), np.inf)])
def test_embeddings_that_do_not_fit_are_refused(reference, wrong) -> None:
    with pytest.raises(ObservationError):
        reference.strangeness(wrong)
