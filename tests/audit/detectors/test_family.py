import numpy as np
import pytest

from audit.detectors.base import Level
from audit.detectors.family import Family, Series, Side
from audit.detectors.reference import Reference
from audit.errors import BaselineError


def series(side: Side = Side.LOW, class_label: str = "7") -> Series:
    return Series("digits", 3, "activation_recall", side, class_label, "client")


def test_the_threshold_enters_the_family_size_once() -> None:
    family = Family(days=30, records_per_day=1000, fed_per_record=4)

    assert family.run_length == 30_000
    assert family.watch(series(), Reference(0.6, 0.15, 500)).threshold == 120_000


def test_a_rise_is_the_fall_of_the_complement() -> None:
    family = Family(days=1, records_per_day=1000, fed_per_record=1)
    reference = Reference(0.3, 0.1, 1000)
    rising, falling = series(Side.HIGH), series(Side.LOW)
    up, down = family.watch(rising, reference), family.watch(falling, reference)
    for value in np.random.default_rng(0).beta(6, 6, 200):
        up.update(rising.oriented(value))
        down.update(falling.oriented(value))

    assert up.drift_detected
    assert down.level is Level.OK
    assert family.draw(rising, reference).mean == pytest.approx(0.7)


@pytest.mark.slow
def test_a_family_of_equal_series_keeps_the_promise_together() -> None:
    """Six detectors at their floors, alike or independent; the first alarm of any counts."""
    rng = np.random.default_rng(3)
    family = Family(days=1, records_per_day=40, fed_per_record=6)
    for shared in (True, False):
        lengths = []
        for _ in range(60):
            watchers = [
                family.watch(series(), Reference(0.52, 0.0, 100), tolerance=0.02) for _ in range(6)
            ]
            while not any(each.drift_detected for each in watchers):
                draws = rng.random(6) < 0.5
                for each, draw in zip(watchers, draws, strict=True):
                    each.update(float(draws[0] if shared else draw))
            lengths.append(watchers[0].observations)

        assert np.mean(lengths) >= family.run_length


def test_class_mix_alone_alarms_the_pooled_series_but_no_class() -> None:
    """Simpson: each class keeps its recall, only their shares change."""
    rng = np.random.default_rng(6)
    means = {"a": 0.7, "b": 0.5}
    history = {name: rng.beta(10 * m, 10 * (1 - m), 1000) for name, m in means.items()}
    family = Family(days=20, records_per_day=1000, fed_per_record=1)
    per_class = {
        name: family.watch(series(class_label=name), Reference.of(values))
        for name, values in history.items()
    }
    pooled = family.watch(series(class_label=""), Reference.of([*history["a"], *history["b"]]))
    for _ in range(4000):
        name = "a" if rng.random() < 0.25 else "b"
        value = rng.beta(10 * means[name], 10 * (1 - means[name]))
        per_class[name].update(value)
        pooled.update(value)

    assert pooled.drift_detected
    assert not any(each.drift_detected for each in per_class.values())


def test_a_series_says_what_it_is() -> None:
    expected = "digits/3: activation_recall low (class 7, region by client)"

    assert expected == str(series())
    assert str(Series("digits", 3, "confidence", Side.LOW)).endswith("(all classes)")


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (float("nan"), 1, 1)])
def test_a_promise_of_nothing_is_refused(numbers) -> None:
    with pytest.raises(BaselineError):
        Family(*numbers)


@pytest.mark.parametrize("values", [[0.5] * 29, [0.5] * 40 + [float("nan")]])
def test_too_little_for_a_reference_is_refused(values) -> None:
    with pytest.raises(BaselineError, match="reference"):
        Reference.of(values)


def test_a_reference_is_mean_and_sample_deviation() -> None:
    values = np.random.default_rng(0).random(50)
    reference = Reference.of(values)

    assert values.mean() == pytest.approx(reference.mean)
    assert values.std(ddof=1) / np.sqrt(50) == pytest.approx(reference.standard_error)
