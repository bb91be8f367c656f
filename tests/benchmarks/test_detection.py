"""The detection benchmark measures the classes themselves, and its targets can be missed."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from audit.detectors.conformal import ConformalESR
from audit.detectors.cusum import Cusum
from audit.detectors.esr import MixtureESR

pytest.importorskip("river", reason="the benchmark compares with river, a development extra")


@pytest.fixture
def parts(monkeypatch) -> SimpleNamespace:
    """The benchmark's modules, imported as the script imports them."""
    monkeypatch.syspath_prepend("benchmarks")
    import detection  # noqa: PLC0415 - importable only with the path above
    from detecting import figures, peers, reliance, replicas, situations, streams  # noqa: PLC0415

    return SimpleNamespace(
        detection=detection,
        figures=figures,
        peers=peers,
        reliance=reliance,
        replicas=replicas,
        situations=situations,
        streams=streams,
    )


def alarms_of(make, values) -> list[int]:
    """Alarms of fresh detectors, each begun when the one before has alarmed."""
    alarms, detector = [], make()
    for at, value in enumerate(values, start=1):
        detector.update(value)
        if detector.drift_detected:
            alarms.append(at)
            detector = make()
    return alarms


def test_replicas_of_esr_equal_the_class(parts) -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.beta(6, 4, (5, 300)), rng.beta(4, 6, (5, 300))], axis=1)
    detectors = [
        MixtureESR(floor=floor, threshold=500) for floor in rng.uniform(0.3, 0.7, 5).tolist()
    ]
    expected = [
        alarms_of(lambda each=each: MixtureESR(floor=each.floor, threshold=500), row)
        for each, row in zip(detectors, values, strict=True)
    ]

    assert expected == parts.replicas.esr(values, detectors).alarms
    assert sum(len(each) for each in expected) > 5


def test_the_wealth_of_a_replica_equals_the_class_bit_by_bit(parts) -> None:
    rng = np.random.default_rng(1)
    detector = MixtureESR(floor=0.6, threshold=1e6)
    bets = np.array(detector.state()["bets"])[:, None]
    wealth = np.zeros_like(bets)
    for value in rng.random(2000).tolist():
        detector.update(value)
        wealth = (1.0 + bets * (0.6 - value)) * (wealth + 1.0)
        if detector.drift_detected:
            break

        assert detector.state()["wealth"] == wealth[:, 0].tolist()
        assert detector.statistic == parts.replicas.mean(wealth)[0]


def test_replicas_fed_in_part_equal_a_class_fed_in_part(parts) -> None:
    rng = np.random.default_rng(2)
    values, fed = rng.beta(4, 6, (3, 200)), rng.random((3, 200)) < 0.4
    make = lambda: MixtureESR(floor=0.55, threshold=500)  # noqa: E731 - a factory, not a name
    found = parts.replicas.esr(values, [make() for _ in range(3)], fed=fed).alarms
    for row in range(3):
        at = np.flatnonzero(fed[row]) + 1
        expected = [int(at[n - 1]) for n in alarms_of(make, values[row][fed[row]])]

        assert expected == found[row]


def test_replicas_of_cusum_and_conformal_equal_the_classes(parts) -> None:
    rng = np.random.default_rng(3)
    values, p_values = rng.normal(0.55, 0.15, (4, 400)), 1.0 - rng.random((4, 400)) ** 0.6
    cusum = [
        alarms_of(lambda: Cusum(mean=0.6, deviation=0.15, limit=8.0, warning=4.0), row)
        for row in values
    ]
    conformal = [alarms_of(lambda: ConformalESR(threshold=100), row) for row in p_values]

    assert cusum == parts.replicas.cusum(values, np.full(4, 0.6), np.full(4, 0.15), 8.0).alarms
    assert conformal == parts.replicas.conformal(p_values, 100).alarms
    assert min(len(each) for each in cusum) >= 1


def test_autocorrelation_and_mean_are_as_said(parts) -> None:
    stream = parts.streams.null(np.random.default_rng(0), 4, 20_000, autocorrelation=0.3)
    lagged = np.corrcoef(stream[:, :-1].ravel(), stream[:, 1:].ravel())[0, 1]

    assert 0.3 == pytest.approx(lagged, abs=0.03)
    assert 0.6 == pytest.approx(stream.mean(), abs=0.01)


def test_the_targets_hold_for_ours_and_fail_for_the_trivial_detectors(parts) -> None:
    """Always fails on false alarms, never on delays: the judgement can tell both."""
    size = parts.figures.Size((10, 500), 60, 2, 600, 600)
    rows = {row.name: row for row in parts.figures.rows(size, 3)}
    extra = {
        "family": {
            "independent": parts.situations.family(
                3, replicates=5, records=400, autocorrelation=0.0
            )
        },
        "class_mix": parts.situations.class_mix(3, replicates=5, records=500),
        "strangers": [parts.situations.strangers(3, calibration=3000, replicates=8, records=50)],
        "reliance": parts.reliance.reliance(3, replicates=5, records=2_000),
        "choice": parts.situations.choice(3, repetitions=1, records=20_000),
    }
    missed = {
        name: {
            target.name for target in parts.detection.judge(rows[name], extra) if not target.met
        }
        for name in ("e-SR (the alarm)", "always alarm", "never alarm")
    }

    too_small = {"records per family null"}

    assert missed["e-SR (the alarm)"] == too_small
    assert "run length of one detector" in missed["always alarm"]
    assert "median delay, fall by 0.10" in missed["never alarm"]
    assert math.isinf(rows["never alarm"].delays[0].median)
