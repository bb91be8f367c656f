"""The search on discs: what it tries, what it survives, what it keeps."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from models.errors import TrainingError
from models.training.image_sets import ImageSet
from models.training.optimizers import TrainingConfig
from models.training.recipes import Recipe
from models.training.search import Trial, choose, search

optuna = pytest.importorskip("optuna", reason="pip install 'rightly[search]'")

CONFIG = TrainingConfig(epochs=2, batch_size=4, optimizer="sgd", learning_rate=1e-3, device="cpu")


def rows(count: int, seed: int) -> ImageSet:
    """Bright and dark images with a region each."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = draw.integers(0, 100, (count, 16, 16, 3)) + 120 * labels[:, None, None, None]
    relevant = np.zeros((count, 16, 16), bool)
    relevant[:, 4:12, 4:12] = True
    names = tuple(map(str, range(count)))
    return ImageSet(images.astype(np.uint8), labels, ("dark", "bright"), names, relevant=relevant)


SETS: Mapping[str, ImageSet] = {"train": rows(16, 0), "val": rows(8, 1)}


def recipe(objective: str, **changes: object) -> Recipe:
    given = {"data": "discs", "objective": objective, "height": 16, "training": CONFIG}
    return Recipe(**(given | changes))


def trial(weight: float, value: float | None) -> Trial:
    return Trial(recipe("rrr", options={"weight": weight}), value, "" if value else "burst")


@given(
    some.lists(
        some.tuples(some.floats(0.01, 1e4), some.none() | some.floats(-5.0, 1.0)), min_size=1
    ),
    some.sampled_from([0.0, 0.01, 0.3]),
)
def test_the_largest_weight_that_costs_little_is_chosen(
    tried: list[tuple[float, float | None]], tolerance: float
) -> None:
    """The rule, read as a loop over the trials."""
    valued = [(weight, value) for weight, value in tried if value is not None]
    if not valued:
        with pytest.raises(TrainingError, match="trials failed"):
            choose([trial(*each) for each in tried], tolerance=tolerance)
        return
    best = max(value for _, value in valued)
    expected = 0.0
    for weight, value in valued:
        if best - value <= tolerance * abs(best) and weight > expected:
            expected = weight
    found = choose([trial(*each) for each in tried], tolerance=tolerance)

    assert found.recipe.options["weight"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ([0.90, 0.895, 0.88], 10.0),  # a hundredth of 0.90 is 0.009
        ([0.90, 0.8905, 0.88], 1.0),  # an absolute hundredth would take 10
        ([0.90, 0.70, 0.90], 100.0),
        ([-0.500, -0.504, -0.51], 10.0),  # of a loss, the hundredth of the loss
    ],
)
def test_a_hundredth_is_a_share_of_the_best_value(values: list[float], chosen: float) -> None:
    tried = [
        trial(weight, value) for weight, value in zip((1.0, 10.0, 100.0), values, strict=True)
    ]

    assert choose(tried).recipe.options["weight"] == chosen


def test_a_trial_that_bursts_does_not_end_the_search() -> None:
    told: list[Trial] = []
    chosen, trials = search(
        recipe("rrr"), 6, progress=lambda _, each: told.append(each), splits=SETS
    )
    burst = [each for each in trials if each.value is None]
    good = [each.value for each in trials if each.value is not None]

    assert told == trials
    assert len(trials) == 6
    assert burst
    assert all("the loss of rrr is" in each.failed for each in burst)
    kept = [each for each in trials if each.recipe == chosen]
    assert kept[0].value >= 0.99 * max(good)
    assert kept[0].to_mapping()["weight"] == chosen.options["weight"]
    wild = recipe("rrr", training=replace(CONFIG, learning_rate=1e3))
    with pytest.raises(TrainingError, match="each of the 2 trials failed, the first because"):
        search(wild, 2, splits=SETS)


def test_what_fails_every_trial_alike_ends_the_search() -> None:
    with pytest.raises(TrainingError, match="rrr has no option 'lambda'"):
        search(recipe("rrr", options={"lambda": 1}), 2, splits=SETS)


def test_the_weight_decay_of_erm_is_searched() -> None:
    chosen, trials = search(recipe("erm"), 4, splits=SETS)
    values = [each.value for each in trials]
    decays = [each.recipe.training.weight_decay for each in trials]
    equals = [decay for decay, value in zip(decays, values, strict=True) if value == max(values)]

    assert len(set(decays)) == 4
    assert "weight" not in chosen.options
    assert chosen.training.weight_decay == max(equals)
    with pytest.raises(TrainingError, match="group_dro has no weight to search"):
        search(recipe("group_dro"), 1, splits=SETS)


@pytest.mark.parametrize("objective", ["pgd_ex", "ibp_ex", "rand_ex"])
def test_of_robust_methods_the_gradient_and_the_radius_are_searched(objective: str) -> None:
    options = {"steps": 1} if objective == "pgd_ex" else {}
    flat = Recipe("discs", objective, "models.training.networks:compact", height=28, width=28,
                  options=options, training=CONFIG)  # fmt: skip
    sets = {name: replace(each, images=each.images.repeat(2, 1).repeat(2, 2)[:, :28, :28],
                          relevant=each.relevant.repeat(2, 1).repeat(2, 2)[:, :28, :28])
            for name, each in SETS.items()}  # fmt: skip
    chosen, trials = search(flat, 3, splits=sets)

    assert {"gradient", "radius"} <= chosen.options.keys()
    assert all(0.01 <= each.recipe.options["radius"] <= 1 for each in trials)
    assert len({each.recipe.options["gradient"] for each in trials}) == 3
    told = trials[0].to_mapping()
    assert told["radius"] == trials[0].recipe.options["radius"]
    assert "weight" not in told


def test_of_several_strengths_the_furthest_up_on_average_is_chosen() -> None:
    def robust(gradient: float, radius: float) -> Trial:
        options = {"gradient": gradient, "radius": radius}
        return Trial(recipe("pgd_ex", options=options), 0.9)

    both, more_gradient, more_radius = robust(100, 0.3), robust(300, 0.02), robust(1, 0.9)

    assert choose([more_gradient, both, more_radius]) == both


def test_the_criterion_last_judges_by_accuracy() -> None:
    """It counts epochs, by which every trial would be as good as any other."""
    _, trials = search(recipe("erm", training=replace(CONFIG, criterion="last")), 2, splits=SETS)

    assert [each.value <= 1 for each in trials] == [True, True]


def test_a_search_that_is_stopped_keeps_what_is_done() -> None:
    steps = iter([False] * 12)  # a trial has eight
    chosen, trials = search(recipe("erm"), 5, splits=SETS, should_stop=lambda: next(steps, True))

    assert [each.recipe for each in trials] == [chosen]
    assert search(recipe("erm"), 5, splits=SETS, should_stop=lambda: True) == (recipe("erm"), [])
