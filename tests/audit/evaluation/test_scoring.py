"""Scorecards of classifiers whose every answer is known beforehand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import EvaluationError
from audit.evaluation import resampling, sensitivity
from audit.evaluation.calibration import calibration_error
from audit.evaluation.scorecards import LabelledSet
from audit.evaluation.scoring import evaluate
from audit.reliance import probes, probing
from audit.reliance.probing import Predictor

COUNT, SIDE = 60, 16


def rows(**changes: object) -> LabelledSet:
    """Class 1 is bright inside the region; the surroundings agree with the label in 5 of 6."""
    draw = np.random.default_rng(0)
    labels = np.arange(COUNT) % 2
    around = np.where(np.arange(COUNT) % 12 < 10, labels, 1 - labels)
    images = draw.integers(0, 40, (COUNT, SIDE, SIDE, 3)) + 120 * around[:, None, None, None]
    regions = np.zeros((COUNT, SIDE, SIDE), bool)
    regions[:, 4:12, 4:12] = True
    inside = draw.integers(0, 40, images.shape) + 120 * labels[:, None, None, None]
    images = np.where(regions[..., None], inside, images).astype(np.uint8)
    plain = {
        "name": "test",
        "images": images,
        "labels": labels,
        "classes": ("dark", "bright"),
        "regions": regions,
        "groups": 2 * labels + around,
        "group_names": ("dark on dark", "dark on bright", "bright on dark", "bright on bright"),
    }
    return LabelledSet(**(plain | changes))


def reading(part: slice) -> Predictor:
    """Return a classifier that reads the brightness of a part of the image."""

    def predictor(images: np.ndarray) -> np.ndarray:
        bright = images[:, part, part].mean(axis=(1, 2, 3)) / 255
        confident = 1 / (1 + np.exp(-40 * (bright - 0.3)))
        return np.stack([1 - confident, confident], axis=1)

    return predictor


RIGHT, WRONG = reading(slice(4, 12)), reading(slice(0, 3))


def centre(images: np.ndarray, _targets: np.ndarray) -> np.ndarray:
    heat = np.zeros((len(images), 4, 4))
    heat[:, 1:3, 1:3] = 1.0
    return heat


def test_a_classifier_of_the_region_is_right_for_the_right_reason() -> None:
    card = evaluate(RIGHT, rows(), model="right", heatmaps=centre, explainer="fake/1")

    assert card.accuracy.value == 1
    assert card.worst_group.value == 1
    assert card.masked.value == 1
    assert card.random_cue.value == card.reversed_cue.value == 1
    assert all(each.flip_rate.value == 0 for each in card.reliance)
    assert card.focus.activation_recall.value == 1
    assert card.focus.relevance_mass.value == 1
    assert card.focus.area.value == pytest.approx(0.25)
    assert card.focus.pointing.value == 1


def test_a_classifier_of_the_surroundings_is_found_out() -> None:
    card = evaluate(WRONG, rows(), model="wrong", heatmaps=lambda i, t: 1 - centre(i, t))

    assert card.accuracy.value == pytest.approx(50 / 60)
    assert card.per_group["dark on bright"].value == 0
    assert card.worst_group.value == 0
    assert card.masked.value == pytest.approx(0.5)
    swap = next(each for each in card.reliance if each.intervention == "swap")
    assert swap.directed_flip_rate.value > 0.7  # 5 of 6 donors have their label's surroundings
    assert 0.35 < card.random_cue.value < 0.65
    assert card.reversed_cue.value < 0.3
    assert card.focus.relevance_mass.value == 0
    undilated = next(each for each in card.sensitivities if each.definition == "robust-mlx")
    assert undilated.value.value < 0


def test_flips_and_cues_agree_with_a_loop_over_right_answers() -> None:
    """The surroundings tell the label in 5 of 6: labels and predictions are not the same here."""
    plain = rows(subjects=tuple(f"p{each // 2}" for each in range(COUNT)))
    card = evaluate(WRONG, plain, model="wrong", seed=3)
    donors = probing.choose_donors(plain.labels, plain.labels, own=True, seed=3)
    others = probing.any_other(COUNT, seed=3)
    flips, followed, contrary, mixed = [], [], [], []
    for row, label in enumerate(plain.labels):
        was = int(WRONG(plain.images[row : row + 1]).argmax())
        answers = []
        for lender in (donors[row], others[row]):
            changed = plain.images[lender].copy()
            changed[4:12, 4:12] = plain.images[row, 4:12, 4:12]
            answers.append(int(WRONG(changed[None]).argmax()))
        contrary.append(answers[0] == label)
        mixed.append(answers[1] == label)
        if was == label:
            flips.append(answers[0] != was)
            followed.append(answers[0] == plain.labels[donors[row]] != label)
    swap = next(each for each in card.reliance if each.intervention == "swap")

    assert 50 == len(flips)
    assert (np.mean(flips), 50) == (swap.flip_rate.value, swap.flip_rate.observations)
    assert np.mean(followed) == swap.directed_flip_rate.value < 1
    assert np.mean(contrary) == card.reversed_cue.value
    assert np.mean(mixed) == card.random_cue.value


def test_a_wrong_answer_that_changes_is_no_flip() -> None:
    """It says "dark" in bright surroundings: right on no row of this set, and moved by each."""

    def contrary(images: np.ndarray) -> np.ndarray:
        return WRONG(images)[:, ::-1]

    agreeing = np.arange(COUNT) % 12 < 10
    plain = rows()
    few = LabelledSet(
        "agreeing",
        plain.images[agreeing],
        plain.labels[agreeing],
        plain.classes,
        plain.regions[agreeing],
    )
    card = evaluate(contrary, few, model="contrary")
    swap = next(each for each in card.reliance if each.intervention == "swap")

    assert card.accuracy.value == 0
    assert swap.flip_rate is None
    assert swap.directed_flip_rate is None
    assert swap.probability_shift.value > 0.5
    assert card.reversed_cue.value == 1


def test_every_interval_draws_whole_subjects() -> None:
    """Against rows that are really repeated as often as their subject was drawn."""
    people = tuple(f"p{each // 6}" for each in range(COUNT))
    plain = rows(subjects=people)
    card = evaluate(WRONG, plain, model="m", seed=2)
    donors = probing.choose_donors(plain.labels, plain.labels, own=True, seed=2)
    before = WRONG(plain.images)
    after = WRONG(probes.swap(plain.images, plain.regions, plain.images[donors],
                              plain.regions[donors]))  # fmt: skip
    noisy = WRONG(
        sensitivity.noised(
            plain.images, plain.regions, sensitivity.DEFINITIONS[1], core=False, seed=2
        )
    )
    decided, now = before.argmax(axis=1), after.argmax(axis=1)
    right = decided == plain.labels
    every = np.arange(COUNT)
    swap = next(each for each in card.reliance if each.intervention == "swap")
    drawn = resampling.weights(COUNT, people, seed=2)
    for found, values, among in (
        (swap.flip_rate, decided != now, right),
        (swap.directed_flip_rate, now == plain.labels[donors], right),
        (swap.probability_shift, before[every, decided] - after[every, decided], every >= 0),
        (card.reversed_cue, now == plain.labels, every >= 0),
        (card.sensitivities[1].core_accuracy, noisy.argmax(axis=1) == plain.labels, every >= 0),
    ):
        means = []
        for times in drawn:
            repeated = np.repeat(every, times)
            means.append(values[repeated[among[repeated]]].mean())

        assert np.quantile(means, [0.025, 0.975]) == pytest.approx([found.low, found.high])
        assert found.low < found.value < found.high


def test_one_class_alone_has_no_reversed_cue_and_one_row_no_swap() -> None:
    plain = rows()
    bright = plain.labels == 1
    one_class = LabelledSet(
        "bright", plain.images[bright], plain.labels[bright], plain.classes, plain.regions[bright]
    )
    card = evaluate(WRONG, one_class, model="m")
    one = LabelledSet("one", plain.images[:1], plain.labels[:1], plain.classes, plain.regions[:1])
    alone = evaluate(RIGHT, one, model="m")

    assert card.reversed_cue is None
    assert card.random_cue is not None
    assert {each.directed_flip_rate for each in card.reliance} == {None}
    assert alone.masked.value == 1
    assert alone.random_cue is None
    assert alone.reliance == ()


def test_without_regions_only_answers_are_scored() -> None:
    card = evaluate(RIGHT, rows(regions=None, groups=None), model="right", heatmaps=centre)

    assert card.focus is None
    assert card.masked is None
    assert card.random_cue is None
    assert card.reliance == ()
    assert card.worst_group is None
    assert card.to_json()["accuracy"]["value"] == 1


def test_rows_of_a_subject_are_resampled_together() -> None:
    """Two subjects, one always right, one never: the interval is all of [0, 1]."""
    together = resampling.weights(60, ("a",) * 30 + ("b",) * 30, seed=0)
    single = resampling.weights(60, None, seed=0)
    right = resampling.mean_of(np.arange(60) < 30)
    found = resampling.estimate(right, together, level=0.95, observations=60)
    apart = resampling.estimate(right, single, level=0.95, observations=60)

    assert (together[:, :30] == together[:, :1]).all()
    assert (found.low, found.value, found.high) == (0, 0.5, 1)
    assert 0.3 < apart.low < 0.45
    assert 0.55 < apart.high < 0.7


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        sample = draw.random(80) < 0.7
        drawn = resampling.weights(80, None, seed=seed, resamples=300)
        found = resampling.estimate(resampling.mean_of(sample), drawn, level=0.95, observations=80)
        hits += found.low <= 0.7 <= found.high

    assert 0.90 <= hits / 200 <= 0.99


def test_the_same_seed_gives_the_same_card() -> None:
    one, two = (evaluate(WRONG, rows(), model="m", heatmaps=centre, seed=4) for _ in range(2))

    assert one == two


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_calibration_error_agrees_with_a_loop(pairs: list[tuple[float, bool]]) -> None:
    confidence = np.array([each[0] for each in pairs])
    correct = np.array([each[1] for each in pairs])
    expected = 0.0
    for low in range(15):
        inside = [at for at, value in enumerate(confidence) if low == min(int(value * 15), 14)]
        if inside:
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            expected += len(inside) / len(pairs) * gap
    found = calibration_error(confidence, correct)(np.ones(len(pairs), np.int64))

    assert found == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 4), st.integers(0, 9), st.integers(0, 9))
def test_dilation_agrees_with_a_loop(radius: int, row: int, column: int) -> None:
    region = np.zeros((1, 10, 10), bool)
    region[0, row, column] = True
    expected = np.zeros((10, 10), bool)
    for i in range(10):
        for j in range(10):
            expected[i, j] = abs(i - row) <= radius and abs(j - column) <= radius

    assert np.array_equal(sensitivity.dilated(region, radius)[0], expected)


@pytest.mark.parametrize(("kept", "lost", "expected"), [(1.0, 0.5, 1.0), (0.5, 0.5, 0), (1, 1, 0)])
def test_core_sensitivity_by_hand(kept: float, lost: float, expected: float) -> None:
    core, spurious = np.arange(10) < 10 * kept, np.arange(10) < 10 * lost
    found = sensitivity.core_sensitivity(core, spurious)(np.ones(10, np.int64))

    assert found == pytest.approx(expected)


def test_noise_stays_where_it_belongs() -> None:
    plain = rows()
    for definition in sensitivity.DEFINITIONS:
        grown = sensitivity.dilated(plain.regions, round(definition.dilation * SIDE / 224))
        changed = sensitivity.noised(plain.images, plain.regions, definition, core=True, seed=0)
        same = (changed == plain.images).all(axis=3)

        assert same[~grown].all()
        assert same[grown].mean() < 0.25  # noise below zero is clamped to a black that was there


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(EvaluationError, match="no rows"):
        rows(images=np.zeros((0, 4, 4, 3), np.uint8), labels=np.zeros(0, np.int64))
    with pytest.raises(EvaluationError, match="a column of 3"):
        rows(groups=np.zeros(3, np.int64))
    with pytest.raises(EvaluationError, match=r"answered \[60, 3\]"):
        evaluate(lambda images: np.ones((len(images), 3)) / 3, rows(), model="m")
