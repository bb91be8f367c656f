"""The detector of the class mix keeps its run length, and finds what changes."""

import numpy as np
import pytest

from audit.detectors.base import Level
from audit.detectors.mix import MEMORIES, ClassMix
from audit.errors import BaselineError, ObservationError

LABELS = [str(number) for number in range(10)]
EVEN = dict.fromkeys(LABELS, 100)


def drawn(shares: list[float], count: int, seed: int) -> list[str]:
    return list(np.random.default_rng(seed).choice(LABELS, count, p=shares))


def test_the_evidence_agrees_with_the_definition() -> None:
    detector = ClassMix(EVEN, threshold=1000)
    seen: list[str] = []
    wealth = [0.0] * len(MEMORIES)
    for label in drawn([0.1] * 10, 120, seed=5):
        detector.update(label)
        for number, memory in enumerate(MEMORIES):
            weights = [(1 - 1 / memory) ** (len(seen) - 1 - i) for i in range(len(seen))]
            ours = sum(w for w, each in zip(weights, seen, strict=True) if each == label)
            betted = (20 * 0.1 + ours) / (20 + sum(weights))
            wealth[number] = (wealth[number] + 1) * betted / (1.05 * 0.1)
        seen.append(label)

        assert np.mean(wealth) == pytest.approx(detector.statistic)


def test_no_false_alarm_in_many_steady_answers() -> None:
    """40 streams of 2,000 answers under a promise of one alarm in 20,000 and more."""
    alarms = 0
    for seed in range(40):
        detector = ClassMix(EVEN, threshold=20_000)
        for label in drawn([0.1] * 10, 2_000, seed=seed):
            detector.update(label)
        alarms += detector.level is Level.ALARM

    assert alarms <= 4  # 80,000 answers promise at most 4 on average


def test_a_class_that_doubles_is_found() -> None:
    delays = []
    for seed in range(15):
        detector = ClassMix(EVEN, threshold=90_000)
        shares = [0.2, *[0.8 / 9] * 9]
        for label in drawn(shares, 3_000, seed=seed):
            detector.update(label)
        delays.append(detector.alarmed_at or 9_999)

    assert np.median(delays) < 1_500


def test_a_class_that_takes_over_is_found_soon() -> None:
    detector = ClassMix(EVEN, threshold=90_000)
    for label in drawn([0.55, *[0.05] * 9], 400, seed=3):
        detector.update(label)

    assert detector.alarmed_at is not None
    assert detector.alarmed_at < 60


def test_a_change_that_is_over_is_remembered() -> None:
    detector = ClassMix(EVEN, threshold=1000)
    for label in ["0"] * 12 + drawn([0.1] * 10, 1500, seed=1):
        detector.update(label)

    assert detector.statistic < detector.threshold
    assert detector.level is Level.ALARM


@pytest.mark.parametrize(
    ("counts", "threshold"),
    [({"a": 500}, 100), (EVEN, 0.5), (dict.fromkeys(LABELS, 10), 100), ({}, 100)],
)
def test_what_cannot_be_watched_is_refused(counts, threshold) -> None:
    with pytest.raises(BaselineError):
        ClassMix(counts, threshold=threshold)


def test_an_unknown_class_changes_nothing() -> None:
    detector = ClassMix(EVEN, threshold=1000)
    detector.update("3")
    before = detector.statistic
    with pytest.raises(ObservationError):
        detector.update("eleven")

    assert (before, 1) == (detector.statistic, detector.observations)
