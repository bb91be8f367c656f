"""The gate passes what is really better and refuses what only looks better."""

from dataclasses import replace

import numpy as np
import pytest

from audit import gate
from audit.errors import GateError
from audit.gate import Margins, Technical
from audit.outcomes import Outcomes
from audit.paired import Draws

CLASSES = ("cat", "dog", "owl", "fox")
ROWS = 1200
GROUP = (np.arange(ROWS) // 4) % 2 == 1
SOUND = Technical(parity=True, champion_milliseconds=2.0, candidate_milliseconds=2.1)


def outcomes(
    model: str,
    *,
    right: float = 0.9,
    flip: float = 0.4,
    recall: float = 0.4,
    chance: float = 0.3,
    mass: float = 0.4,
    entropy: float = 0.7,
    confidence: float = 0.9,
) -> Outcomes:
    """Answers with the given means; both models find the same rows hard."""
    hardness = np.random.default_rng(1).permutation(ROWS) / ROWS
    labels = np.arange(ROWS) % len(CLASSES)
    decided = np.where(hardness < right, labels, (labels + 1) % len(CLASSES))
    probabilities = np.full((ROWS, len(CLASSES)), (1 - confidence) / (len(CLASSES) - 1))
    probabilities[np.arange(ROWS), decided] = confidence
    noise = np.random.default_rng(2).normal(0, 0.05, ROWS)
    return Outcomes(
        model=model,
        dataset="sha256:locked",
        classes=CLASSES,
        group_names=("with cue", "without"),
        units=np.arange(ROWS) // 2,
        labels=labels,
        groups=(np.arange(ROWS) // 4) % 2,
        probabilities=probabilities,
        flip=(np.random.default_rng(3).permutation(ROWS) / ROWS < flip).astype(float),
        recall=np.clip(recall + noise, 0, 1),
        recall_chance=np.clip(chance + noise, 0, 1),
        mass=np.clip(mass + noise, 0, 1),
        entropy=np.clip(entropy + noise, 0, 1),
    )


CHAMPION = outcomes("digits@1")
BETTER = outcomes("digits@2", right=0.91, flip=0.03, recall=0.6, chance=0.3, mass=0.6)


def judged(candidate: Outcomes, technical: Technical = SOUND, **margins: float) -> gate.Verdict:
    return gate.decide(CHAMPION, candidate, technical, Margins(**margins), seed=0)


def failed(verdict: gate.Verdict) -> set[str]:
    found = {each.rule for each in verdict.checks if not each.passed}
    assert verdict.passed == (not found)
    return found


def test_a_really_better_model_passes_with_an_interval_behind_every_statement() -> None:
    verdict = judged(BETTER)

    assert set() == failed(verdict)
    assert verdict.passed
    assert verdict.reasons == (f"all {len(verdict.checks)} checks passed",)
    assert all(
        each.difference.low - 1e-9 <= each.difference.value <= each.difference.high + 1e-9
        for each in verdict.checks
        if each.difference is not None
    )


def test_a_worse_model_is_refused_by_name_and_figure() -> None:
    verdict = judged(replace(outcomes("digits@2", right=0.85, flip=0.03, recall=0.6, mass=0.6)))

    assert not verdict.passed
    assert {"accuracy", "class accuracy", "group accuracy"} & failed(verdict)
    assert any(
        "accuracy" in reason and "lower bound must reach -0.020" in reason
        for reason in verdict.reasons
    )


def test_the_same_model_again_is_refused_because_reliance_has_not_fallen() -> None:
    assert failed(judged(CHAMPION)) == {"shortcut reliance"}


def test_uniform_heatmaps_are_refused_although_their_activation_recall_is_perfect() -> None:
    ones = np.ones(ROWS)
    gamer = replace(
        BETTER, recall=ones, recall_chance=ones, entropy=ones, mass=np.full(ROWS, 0.25)
    )

    verdict = judged(gamer)

    assert {"recall beyond chance", "relevance mass", "uniform heatmaps"} == failed(verdict)


def test_uniform_heatmaps_are_refused_also_where_the_champion_looks_beside_the_region() -> None:
    astray = replace(CHAMPION, recall=np.full(ROWS, 0.1), mass=np.full(ROWS, 0.05))
    ones = np.ones(ROWS)
    gamer = replace(
        BETTER, recall=ones, recall_chance=ones, entropy=ones, mass=np.full(ROWS, 0.25)
    )

    verdict = gate.decide(astray, gamer, SOUND, Margins(), seed=0)

    assert failed(verdict) == {"uniform heatmaps"}


def test_heatmaps_that_fall_while_reliance_falls_are_shown_and_refuse_nobody() -> None:
    elsewhere = outcomes("digits@2", right=0.91, flip=0.03, recall=0.2, chance=0.3, mass=0.2)

    verdict = judged(elsewhere)

    assert verdict.passed
    assert verdict.conflict
    shown = {each.rule for each in verdict.checks if not each.passed}
    assert shown == {"activation recall", "recall beyond chance", "relevance mass"}
    assert not any(each.decides for each in verdict.checks if not each.passed)
    assert any(reason.startswith("shown only") for reason in verdict.reasons)
    assert verdict.to_json()["conflict"]


def test_heatmaps_that_fall_refuse_where_reliance_has_not_fallen() -> None:
    clean = replace(CHAMPION, flip=np.zeros(ROWS))
    elsewhere = outcomes("digits@2", right=0.91, flip=0.0, recall=0.2, chance=0.3, mass=0.2)

    verdict = gate.decide(clean, elsewhere, SOUND, Margins(), seed=0)

    assert failed(verdict) == {"activation recall", "recall beyond chance", "relevance mass"}
    assert not verdict.conflict


def test_a_heatmap_that_looks_right_is_refused_while_the_answers_follow_the_cue() -> None:
    gamer = outcomes("digits@2", right=0.91, flip=0.4, recall=0.95, chance=0.2, mass=0.95)

    assert failed(judged(gamer)) == {"shortcut reliance"}


def test_uniform_heatmaps_are_refused_also_where_reliance_falls() -> None:
    spread = replace(BETTER, entropy=np.ones(ROWS), recall=np.full(ROWS, 0.1))

    assert failed(judged(spread)) >= {"uniform heatmaps"}
    assert not judged(spread).passed


def test_what_is_right_only_in_its_own_surroundings_is_refused() -> None:
    """Reliance by flips falls, and yet the answers in exchanged surroundings get worse."""
    right = (np.random.default_rng(6).permutation(ROWS) / ROWS < 0.9).astype(float)
    kept = {"painted": right, "exchanged": right, "reversed": np.where(GROUP, np.nan, right)}
    lost = {**kept, "exchanged": right * (np.arange(ROWS) % 5 > 0)}

    champion, candidate = replace(CHAMPION, surroundings=kept), replace(BETTER, surroundings=lost)
    verdict = gate.decide(champion, candidate, SOUND, Margins(), seed=0)
    same = replace(BETTER, surroundings=kept)

    assert failed(verdict) == {"exchanged surroundings"}
    assert gate.decide(champion, same, SOUND, Margins(), seed=0).passed
    with pytest.raises(GateError, match="not asked the same rows"):
        gate.decide(champion, BETTER, SOUND, Margins(), seed=0)
    few = {**kept, "reversed": np.where(np.arange(ROWS) < 5, 1.0, np.nan)}
    unknown = [replace(each, surroundings=few) for each in (CHAMPION, BETTER)]
    assert failed(gate.decide(*unknown, SOUND, Margins(), seed=0)) == {"reversed surroundings"}


def test_flips_count_among_the_right_answers_of_each() -> None:
    """Champion and candidate are right on other rows; each rate is over its own right answers."""
    half = np.arange(ROWS) % 2 == 0
    before = replace(CHAMPION, flip=np.where(half, 1.0, np.nan))
    after = replace(BETTER, flip=np.where(half, np.nan, 0.0))

    check = next(
        each
        for each in gate.decide(before, after, SOUND, Margins(), seed=0).checks
        if each.rule == "shortcut reliance"
    )

    assert check.levels == (1.0, 0.0)
    assert check.passed
    assert check.difference is not None
    assert check.difference.value == pytest.approx(-1, abs=0.01)


def test_better_on_average_and_worse_for_one_class_is_refused_for_that_class() -> None:
    labels = CHAMPION.labels
    probabilities = BETTER.probabilities.copy()
    perfect = np.eye(len(CLASSES))[labels]
    spared = labels != 2
    probabilities[spared] = perfect[spared]
    owls = np.flatnonzero(labels == 2)
    lost = owls[: len(owls) // 5]
    probabilities[lost] = perfect[(lost + 3) % len(CLASSES)]
    uneven = replace(BETTER, probabilities=probabilities)

    verdict = judged(uneven, calibration=1.0)

    assert uneven.correct.mean() > CHAMPION.correct.mean()
    refused = [(each.rule, each.subject) for each in verdict.checks if not each.passed]
    assert refused == [("class accuracy", "owl")]


def test_overconfidence_slowness_and_lost_parity_are_refused() -> None:
    certain = outcomes("digits@2", right=0.9, flip=0.0, confidence=0.9999)
    assert failed(judged(certain)) == {"calibration error"}

    slow = Technical(parity=False, champion_milliseconds=2.0, candidate_milliseconds=3.5)
    assert failed(judged(BETTER, slow)) == {"parity", "latency"}


def test_what_cannot_be_judged_is_refused() -> None:
    blind = replace(BETTER, flip=np.full(ROWS, np.nan), recall=np.full(ROWS, np.nan))

    assert failed(judged(blind)) == {"shortcut reliance", "activation recall"}
    assert {"class accuracy"} <= failed(judged(BETTER, fewest=400))


def test_a_champion_without_a_shortcut_asks_for_no_further_fall() -> None:
    clean = replace(CHAMPION, flip=np.zeros(ROWS))
    candidate = replace(BETTER, flip=np.zeros(ROWS))

    assert gate.decide(clean, candidate, SOUND, Margins(), seed=0).passed


def test_answers_to_other_questions_are_not_compared() -> None:
    with pytest.raises(GateError, match="digits@1 was evaluated on sha256:locked"):
        judged(replace(BETTER, dataset="sha256:another"))
    with pytest.raises(GateError, match="not asked the same rows"):
        judged(replace(BETTER, labels=np.roll(CHAMPION.labels, 1)))
    with pytest.raises(GateError, match="sum to 1"):
        replace(BETTER, probabilities=BETTER.probabilities * 2)
    with pytest.raises(GateError, match="margin accuracy"):
        Margins(accuracy=2.0)


def test_the_verdict_is_the_same_again_and_plain_enough_for_json() -> None:
    first, second = judged(BETTER), judged(BETTER)

    assert first == second
    assert first.to_json()["checks"][0]["difference"]["level"] == 0.9


def test_the_paired_bootstrap_agrees_with_drawing_units_one_by_one() -> None:
    """A slower truth: draw units with replacement, take all their rows, average."""
    rng = np.random.default_rng(5)
    units = rng.integers(0, 40, 200)
    values = rng.normal(size=200) + units / 20
    found = Draws(units, 0).mean(values, np.ones(200, bool))
    means = []
    for _ in range(2000):
        rows = np.concatenate(
            [np.flatnonzero(units == u) for u in rng.choice(np.unique(units), 40)]
        )
        means.append(values[rows].mean())
    low, high = np.quantile(means, [0.05, 0.95])

    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(low, abs=0.05)
    assert found.high == pytest.approx(high, abs=0.05)


def test_the_difference_of_two_rates_agrees_with_drawing_units_one_by_one() -> None:
    rng = np.random.default_rng(7)
    units = rng.integers(0, 60, 400)
    values = [(rng.random(400) < share + units / 200).astype(float) for share in (0.1, 0.3)]
    rows = [rng.random(400) < 0.7, rng.random(400) < 0.5]
    found = Draws(units, 0).rate_difference((values[0], rows[0]), (values[1], rows[1]))
    spread = []
    for _ in range(1500):
        drawn = np.concatenate(
            [np.flatnonzero(units == u) for u in rng.choice(np.unique(units), 60)]
        )
        one, two = (v[drawn][r[drawn]].mean() for v, r in zip(values, rows, strict=True))
        spread.append(one - two)
    low, high = np.quantile(spread, [0.05, 0.95])

    plain = values[0][rows[0]].mean() - values[1][rows[1]].mean()
    assert found.value == pytest.approx(plain, abs=0.01)
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)


def test_two_rates_of_nothing_have_an_interval_still() -> None:
    none, every = np.zeros(20), np.ones(20, bool)

    assert Draws(np.arange(20), 0).rate_difference((none, every), (none, every)).high > 0.04


def test_two_models_that_never_differ_still_have_an_interval() -> None:
    """Of 20 rows without a difference nobody can say that the loss is below one in ten."""
    found = Draws(np.arange(20), 0).mean(np.zeros(20), np.ones(20, bool), imaginary=1.0)

    assert found.low < -0.04
    assert found.high > 0.04


def test_the_bound_covers_a_true_loss_as_often_as_it_promises() -> None:
    """A loss of exactly the margin passes the lower bound in at most about one of twenty sets."""
    rng, passes = np.random.default_rng(7), 0
    for seed in range(300):
        change = rng.choice([-1.0, 0.0, 1.0], 150, p=[0.08, 0.89, 0.03])
        found = Draws(np.arange(150), seed, resamples=500).mean(
            change, np.ones(150, bool), imaginary=1.0
        )
        passes += found.low >= -0.05
    assert passes / 300 <= 0.08


def test_every_estimate_comes_with_the_values_that_it_compares() -> None:
    """The difference of the two levels is the estimate, but for the imaginary pair."""
    checks = [each for each in judged(BETTER).checks if each.difference is not None]

    assert len(checks) == 13
    for each in checks:
        before, after = each.levels
        assert after - before == pytest.approx(each.difference.value, abs=0.01), each.rule
    accuracy = next(each for each in checks if each.rule == "accuracy")
    assert (0.9, 0.91) == pytest.approx(accuracy.levels, abs=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"latency_ratio": 0.0}, {"latency_milliseconds": -1.0}, {"fewest": 0}]
)
def test_bounds_that_nothing_could_meet_are_refused(wrong) -> None:
    with pytest.raises(GateError, match="must be positive"):
        Margins(**wrong)


def test_reliance_on_a_part_is_judged_where_it_was_measured() -> None:
    """Flips hear the context; a cure that keeps the context must not be refused for them."""
    strong, none = np.full(ROWS, 0.6), np.full(ROWS, 0.03)
    champion = replace(CHAMPION, flip=np.zeros(ROWS), part_reliance=strong)
    cured = replace(BETTER, flip=np.ones(ROWS), part_reliance=none)

    def rule(before: Outcomes, after: Outcomes) -> gate.Check:
        checks = gate.decide(before, after, SOUND, Margins(), seed=0).checks
        return next(each for each in checks if each.rule == "shortcut reliance")

    assert rule(champion, cured).passed
    assert "0.030 of an answer is carried by an irrelevant part" in rule(champion, cured).reason
    assert not rule(champion, replace(cured, part_reliance=strong)).passed
    # Networks without a shortcut show some: that need not fall.
    assert rule(replace(champion, part_reliance=none), cured).passed
    alike = replace(cured, part_reliance=np.full(ROWS, np.nan))
    assert not rule(champion, alike).passed  # by its flips
    assert "right answers change" in rule(champion, alike).reason


def test_reliance_outside_of_its_range_is_refused() -> None:
    with pytest.raises(GateError, match="part_reliance must lie in"):
        replace(BETTER, part_reliance=np.full(ROWS, 1.5))
