"""What others would use: ADWIN and Page-Hinkley from river, KS windows, and two trivial detectors.

Each peer takes one stream and its reference and returns the observations (from 1) at which it
alarmed.
The peers of river learn their reference from the stream; they are fed the stream alone, as in use.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from river import base, drift
from scipy import stats

Floats = NDArray[np.float64]
Run = Callable[[Floats, Floats], list[int]]


@dataclass(frozen=True, slots=True)
class Peer:
    """A detector to compare with.

    Attributes:
        name: Row of the table.
        run: Stream and reference to the observations at which it alarmed.
        slow: Whether it is too slow for the longest streams.
    """

    name: str
    run: Run
    slow: bool = False


def from_river(make: Callable[[], base.DriftDetector]) -> Run:
    """Return a run of a detector of river; it resets itself after an alarm."""

    def run(stream: Floats, _reference: Floats) -> list[int]:
        detector, alarms = make(), []
        for at, value in enumerate(stream.tolist(), start=1):
            detector.update(value)
            if detector.drift_detected:
                alarms.append(at)
        return alarms

    return run


def ks_windows(size: int, level: float) -> Run:
    """Return a run of Kolmogorov-Smirnov tests on windows one after another."""

    def run(stream: Floats, reference: Floats) -> list[int]:
        return [
            end
            for end in range(size, len(stream) + 1, size)
            if stats.ks_2samp(stream[end - size : end], reference).pvalue < level
        ]

    return run


def always(stream: Floats, _reference: Floats) -> list[int]:
    """Alarm at every observation."""
    return list(range(1, len(stream) + 1))


def never(_stream: Floats, _reference: Floats) -> list[int]:
    """Never alarm."""
    return []


ALL = (
    Peer("ADWIN δ .002 (river default)", from_river(drift.ADWIN)),
    Peer("ADWIN δ 1e-4", from_river(lambda: drift.ADWIN(delta=1e-4))),
    Peer("Page-Hinkley 50 (river default)", from_river(drift.PageHinkley)),
    Peer(
        "Page-Hinkley 5, falls",
        from_river(lambda: drift.PageHinkley(threshold=5.0, mode="down")),
    ),
    Peer("KS, windows of 100, p < .01", ks_windows(100, 0.01)),
    Peer("KS, windows of 200, p < .001", ks_windows(200, 0.001)),
    Peer("always alarm", always),
    Peer("never alarm", never),
)
