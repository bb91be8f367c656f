"""What every detector in `audit.detectors.ALL` keeps; a new one passes by being listed."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import detectors
from audit.detectors.base import Detector, Level
from audit.detectors.conformal import ConformalESR
from audit.detectors.cusum import Cusum
from audit.detectors.esr import MixtureESR
from audit.errors import DetectorStateError, ObservationError


@dataclass(frozen=True)
class Case:
    """A detector with streams of one that is well and one that is not."""

    make: Callable[[], Detector]
    well: Callable[[np.random.Generator], float]
    broken: Callable[[np.random.Generator], float]
    refused: tuple[float, ...]


CASES = {
    MixtureESR: Case(
        make=lambda: MixtureESR(floor=0.55, threshold=2000),
        well=lambda rng: float(rng.beta(6, 4)),
        broken=lambda rng: float(rng.beta(3, 7)),
        refused=(-0.001, 1.001, float("nan")),
    ),
    Cusum: Case(
        make=lambda: Cusum(mean=0.6, deviation=0.15, limit=12.0, warning=6.0),
        well=lambda rng: float(rng.beta(6, 4)),
        broken=lambda rng: float(rng.beta(3, 7)),
        refused=(float("inf"), float("nan")),
    ),
    ConformalESR: Case(
        make=lambda: ConformalESR(threshold=2000),
        well=lambda rng: 1.0 - float(rng.random()),
        broken=lambda rng: (1.0 - float(rng.random())) ** 4,
        refused=(0.0, -0.1, 1.001, float("nan")),
    ),
}
EVERY = pytest.mark.parametrize("kind", detectors.ALL, ids=lambda each: each.__name__)


def stream(case: Case, *, well: int, broken: int, seed: int = 3) -> Iterator[float]:
    rng = np.random.default_rng(seed)
    for _ in range(well):
        yield case.well(rng)
    for _ in range(broken):
        yield case.broken(rng)


def fed(detector: Detector, values: Iterator[float]) -> Detector:
    for value in values:
        detector.update(value)
    return detector


def through_json(detector: Detector) -> Detector:
    return type(detector).from_state(json.loads(json.dumps(detector.state())))


@EVERY
def test_it_is_quiet_while_all_is_well(kind) -> None:
    case = CASES[kind]

    assert not fed(case.make(), stream(case, well=300, broken=0)).drift_detected


@EVERY
def test_it_finds_the_change(kind) -> None:
    case = CASES[kind]
    detector = fed(case.make(), stream(case, well=300, broken=100))

    assert detector.alarmed_at is not None
    assert 300 < detector.alarmed_at <= 400


@EVERY
def test_an_alarm_stays_when_all_is_well_again(kind) -> None:
    case = CASES[kind]
    detector, values = case.make(), stream(case, well=0, broken=100)
    while not detector.drift_detected:
        detector.update(next(values))
    first = detector.alarmed_at
    fed(detector, stream(case, well=4000, broken=0))

    assert detector.statistic < detector.threshold
    assert detector.drift_detected
    assert detector.level is Level.ALARM
    assert first == detector.alarmed_at
    assert through_json(detector).level is Level.ALARM


@EVERY
def test_a_warning_comes_before_the_alarm_and_may_pass(kind) -> None:
    case = CASES[kind]
    detector = case.make()
    values = stream(case, well=0, broken=400)
    while detector.level is Level.OK:
        detector.update(next(values))

    assert detector.level is Level.WARNING
    assert fed(through_json(detector), stream(case, well=2000, broken=0)).level is Level.OK
    assert fed(detector, values).level is Level.ALARM


@EVERY
@settings(deadline=None, max_examples=25)
@given(cuts=st.sets(st.integers(0, 200)), seed=st.integers(0, 2**16))
def test_restart_is_no_restart_bit_by_bit(kind, cuts, seed) -> None:
    case = CASES[kind]
    through, straight = case.make(), case.make()
    for count, value in enumerate(stream(case, well=120, broken=80, seed=seed)):
        if count in cuts:
            through = through_json(through)
        through.update(value)
        straight.update(value)

        assert straight.state() == through.state()
        assert straight.statistic == through.statistic


@EVERY
def test_long_evidence_does_not_overflow(kind) -> None:
    case = CASES[kind]
    detector = fed(case.make(), stream(case, well=0, broken=20_000))

    assert np.isfinite(detector.statistic)
    assert detector.observations == 20_000


@EVERY
def test_an_observation_out_of_range_is_refused_and_changes_nothing(kind) -> None:
    case = CASES[kind]
    detector = fed(case.make(), stream(case, well=20, broken=5))
    before = detector.state()
    for value in case.refused:
        with pytest.raises(ObservationError):
            detector.update(value)

    assert before == detector.state()


@EVERY
def test_a_state_that_is_not_its_own_is_refused(kind) -> None:
    good = dict(CASES[kind].make().state())
    wrong = [
        {**good, "detector": "other/1"},
        {**good, "observations": -1},
        {**good, "alarmed_at": "never"},
        {name: value for name, value in good.items() if name != "observations"},
        {name: ("x" if isinstance(value, float) else value) for name, value in good.items()},
    ]
    if "wealth" in good:
        wrong.append({**good, "wealth": [0.0]})
    for state in wrong:
        with pytest.raises(DetectorStateError):
            kind.from_state(state)


@EVERY
def test_a_numpy_observation_leaves_a_state_that_json_can_hold(kind) -> None:
    case = CASES[kind]
    detector = case.make()
    detector.update(np.float32(0.5))  # type: ignore[arg-type]

    assert json.loads(json.dumps(detector.state())) == detector.state()


def test_every_listed_detector_has_a_case() -> None:
    assert set(detectors.ALL) == set(CASES)


class Always:
    """Alarms at once: what a detector must be better than."""

    drift_detected = True
    alarmed_at = 1

    def update(self, x: float) -> None:
        """Take nothing from `x`."""


class Never:
    """Never alarms: what a detector must also be better than."""

    drift_detected = False
    alarmed_at = None

    def update(self, x: float) -> None:
        """Take nothing from `x`."""


def test_that_the_checks_above_can_fail() -> None:
    """The two trivial detectors each break one of the first two promises."""
    case = CASES[MixtureESR]

    assert fed(Always(), stream(case, well=300, broken=0)).drift_detected
    assert not fed(Never(), stream(case, well=300, broken=100)).drift_detected
