import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import sampling
from audit.sampling import Interest, QueuePlan, Weights

KEY = b"deployment secret"
UNIT = st.floats(0, 1)
INTERESTS = st.builds(Interest, UNIT, UNIT, UNIT, UNIT, UNIT, UNIT)


@given(INTERESTS)
def test_the_score_is_the_weighted_mean_of_the_parts(interest) -> None:
    parts = [
        (interest.uncertainty, 1),
        (interest.outside, 2),
        (interest.flip, 3),
        (interest.strangeness, 1),
        (interest.rarity, 1),
        (interest.disagreement, 1),
    ]
    expected = sum(value * weight for value, weight in parts) / 9

    assert expected == pytest.approx(sampling.score(interest, Weights()))


@given(st.text(max_size=30), INTERESTS)
def test_the_choice_can_be_repeated_and_knows_its_probability(record_id, interest) -> None:
    plan = QueuePlan()
    choice = sampling.choose(record_id, interest, plan, key=KEY)
    chosen = plan.chosen_share * choice.score**plan.sharpness
    neither = (1 - plan.random_share) * (1 - chosen)

    assert choice == sampling.choose(record_id, interest, plan, key=KEY)
    assert 1 - neither == pytest.approx(choice.inclusion)
    assert 0.0 < choice.inclusion <= 1.0


def test_records_enter_as_often_as_said() -> None:
    plan = QueuePlan(random_share=0.05, chosen_share=0.6, sharpness=1.0)
    interest = Interest(flip=1.0)
    choices = [sampling.choose(f"id{n}", interest, plan, key=KEY) for n in range(20_000)]
    random = np.mean([each.stratum == "random" for each in choices])
    either = np.mean([each.stratum is not None for each in choices])

    assert random == pytest.approx(0.05, abs=0.006)
    assert either == pytest.approx(choices[0].inclusion, abs=0.012)


def test_the_random_stratum_does_not_depend_on_what_the_record_looks_like() -> None:
    plan = QueuePlan(random_share=0.3)
    for number in range(500):
        dull, hot = (
            sampling.choose(f"id{number}", Interest(flip=flip), plan, key=KEY)
            for flip in (0.0, 1.0)
        )

        assert (dull.stratum == "random") == (hot.stratum == "random")


def test_another_key_chooses_others() -> None:
    plan = QueuePlan(random_share=0.5)
    picks = [
        [sampling.choose(f"id{n}", Interest(), plan, key=key).stratum for n in range(200)]
        for key in (b"one", b"two")
    ]

    assert picks[0] != picks[1]


def test_weighting_undoes_the_choice() -> None:
    """Records with low recall are reviewed far more often; the weighted mean does not care."""
    rng = np.random.default_rng(9)
    recall = rng.beta(6, 4, 60_000)
    plan = QueuePlan(random_share=0.02, chosen_share=0.4, sharpness=3.0)
    choices = [
        sampling.choose(f"id{n}", Interest(outside=1 - value, flip=1 - value), plan, key=KEY)
        for n, value in enumerate(recall)
    ]
    seen = [n for n, each in enumerate(choices) if each.stratum is not None]
    estimate = sampling.weighted_mean(recall[seen], [choices[n].inclusion for n in seen])

    assert recall[seen].mean() < recall.mean() - 0.02
    assert recall.mean() == pytest.approx(estimate.value, abs=0.01)
    assert estimate.low <= recall.mean() <= estimate.high


def test_the_interval_covers_what_it_says() -> None:
    rng = np.random.default_rng(4)
    covered = []
    for _ in range(400):
        values = rng.beta(6, 4, 3000)
        probability = 0.02 + 0.2 * (1 - values)
        seen = rng.random(3000) < probability
        estimate = sampling.weighted_mean(values[seen], probability[seen])
        covered.append(estimate.low <= values.mean() <= estimate.high)

    assert np.mean(covered) >= 0.92


def test_a_full_review_is_the_plain_mean_without_error() -> None:
    estimate = sampling.weighted_mean([0.1, 0.5, 0.9], [1.0, 1.0, 1.0])

    assert 0.5 == pytest.approx(estimate.value)
    assert estimate.low == pytest.approx(estimate.high)


@pytest.mark.parametrize(
    ("values", "inclusion"), [([], []), ([0.5], [0.0]), ([0.5], [1.5]), ([0.5, 0.5], [1.0])]
)
def test_what_cannot_be_weighted_is_refused(values, inclusion) -> None:
    with pytest.raises(ValueError, match=r"inclusion probabilit"):
        sampling.weighted_mean(values, inclusion)


@pytest.mark.parametrize(
    "wrong", [{"random_share": 0.0}, {"chosen_share": 1.5}, {"sharpness": 0.0}]
)
def test_an_impossible_plan_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"share|sharpness"):
        QueuePlan(**wrong)


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [([0.5, 0.5], 1.0), ([1.0, 0.0], 0.0), ([1.0], 0.0), ([0.25] * 4, 1.0), ([0.0, 0.0], 0.0)],
)
def test_uncertainty_is_entropy_over_its_maximum(probabilities, expected) -> None:
    assert expected == pytest.approx(sampling.uncertainty(np.array(probabilities)))


def test_uncertainty_agrees_with_a_loop() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5))
    expected = -sum(p * math.log(p) for p in probabilities) / math.log(5)

    assert expected == pytest.approx(sampling.uncertainty(probabilities))


def test_rarity_compares_with_the_commonest_class() -> None:
    counts = {"a": 100, "b": 25}

    assert [0.0, 0.75, 1.0] == [sampling.rarity(label, counts) for label in "abc"]
    assert sampling.rarity("a", {}) == 1.0
