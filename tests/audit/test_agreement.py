"""Agreement beyond chance, against a library, the definition as a loop, and simulated readers."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from audit import agreement
from audit.agreement import Reading

VERDICTS = ("right-reason", "wrong-reason", "unsure")


def drawn(seed: int, count: int, accord: float) -> list[tuple[str, str]]:
    """Two readers who see the same truth with probability `accord`, and else guess."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, count, p=[0.6, 0.3, 0.1])
    guess = rng.choice(3, count, p=[0.5, 0.3, 0.2])
    second = np.where(rng.random(count) < accord, truth, guess)
    return [(VERDICTS[a], VERDICTS[b]) for a, b in zip(truth, second, strict=True)]


@pytest.mark.parametrize("accord", [0.0, 0.4, 0.9])
def test_kappa_is_that_of_scikit_learn(accord) -> None:
    pairs = drawn(1, 200, accord)
    first, second = zip(*pairs, strict=True)

    assert cohen_kappa_score(first, second) == pytest.approx(agreement.kappa(pairs).value)


def slow_alpha(units: list[tuple[str, ...]]) -> float:
    """Every pair within an answer, and every pair of all readings, counted one by one."""
    within, weight = 0.0, 0.0
    for unit in units:
        for a, b in permutations(unit, 2):
            within += (a != b) / (len(unit) - 1)
        weight += len(unit)
    pooled = [verdict for unit in units for verdict in unit]
    pairs = list(permutations(pooled, 2))
    return 1 - (within / weight) / (sum(a != b for a, b in pairs) / len(pairs))


def test_alpha_is_what_counting_every_pair_gives() -> None:
    rng = np.random.default_rng(3)
    units = [
        tuple(VERDICTS[rng.integers(3)] if rng.random() < 0.4 else VERDICTS[unit % 3]
              for _ in range(2 + unit % 3))
        for unit in range(25)
    ]  # fmt: skip

    assert slow_alpha(units) == pytest.approx(agreement.alpha(units).value)


def test_alpha_of_a_published_example() -> None:
    """Krippendorff (2011), section B: two observers, ten units, two values, α = 0.095."""
    first = "0100000000"
    second = "1110010010"

    assert 0.095 == pytest.approx(
        agreement.alpha(list(zip(first, second, strict=True))).value, abs=5e-4
    )


@pytest.mark.parametrize("accord", [0.3, 0.8, 0.97])
def test_the_interval_holds_its_level(accord) -> None:
    """Coverage of the value that two million readings have, over 600 samples of 60."""
    truth = agreement.kappa(drawn(0, 100_000, accord)).value
    found = [agreement.kappa(drawn(seed, 60, accord)) for seed in range(1, 601)]
    covered = np.mean([each.low <= truth <= each.high for each in found])

    assert covered > 0.92


def test_perfect_agreement_of_few_is_not_certain() -> None:
    found = agreement.kappa([("a", "a"), ("b", "b"), ("a", "a"), ("b", "b")])

    assert 1.0 == found.value == found.high
    assert found.low < 0.1


def test_one_verdict_only_says_nothing_beyond_chance() -> None:
    found = agreement.measure([{"ada": "unsure", "bob": "unsure"}] * 3)

    assert found.beyond_chance is None
    assert 1.0 == found.observed.value
    assert agreement.alpha([("unsure", "unsure")]) is None


def test_two_readers_get_kappa_and_three_get_alpha() -> None:
    two = [{"ada": "a", "bob": "a"}, {"bob": "b", "ada": "b"}, {"ada": "a"}]
    three = [*two, {"ada": "b", "cy": "a"}]

    assert ("kappa", 2, 2) == of(two)
    assert ("alpha", 3, 3) == of(three)
    assert ("", 0, 0) == of([{"ada": "a"}])


def of(items) -> tuple[str, int, int]:
    found = agreement.measure(items)
    return found.coefficient, found.readers, found.items


@pytest.mark.parametrize(
    ("readings", "stands"),
    [
        ([], None),
        ([Reading("ada", "a")], "a"),
        ([Reading("ada", "a"), Reading("bob", "b")], None),
        ([Reading("ada", "a"), Reading("bob", "b"), Reading("ada", "b")], "b"),
        ([Reading("ada", "a"), Reading("bob", "b"), Reading("cy", "c", adjudicates=True)], "c"),
        ([Reading("cy", "c", adjudicates=True), Reading("ada", "a"), Reading("bob", "a")], "c"),
    ],
)
def test_what_stands_is_said_by_all_or_decided_by_one(readings, stands) -> None:
    assert stands == agreement.settled(readings)
