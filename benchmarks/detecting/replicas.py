"""Our detectors over many replicates at once; each row equals the class bit by bit (tested).

A replica that has alarmed begins again with nothing, so that the time between false alarms can be
counted over a long stream; the class itself stays in alarm.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from audit.detectors.conformal import HEDGED, POWERS
from audit.detectors.cusum import ALLOWANCE
from audit.detectors.esr import MixtureESR

Floats = NDArray[np.float64]


class Watched:
    """What replicates of one detector did: the observations (from 1) at which each alarmed."""

    def __init__(self, replicates: int) -> None:
        self.alarms: list[list[int]] = [[] for _ in range(replicates)]

    def note(self, rows: NDArray[np.bool_], at: int) -> None:
        """Note an alarm of `rows` at observation `at`."""
        for row in np.flatnonzero(rows):
            self.alarms[row].append(at)


def esr(
    values: Floats, detectors: Sequence[MixtureESR], *, fed: NDArray[np.bool_] | None = None
) -> Watched:
    """Run one mixture e-SR per row of `values`, with the floor and bets of `detectors`.

    Args:
        values: Observations, [replicates, time].
        detectors: One fresh detector per row.
        fed: Where given, only these observations are fed, [replicates, time].
    """
    floors = np.array([each.floor for each in detectors])
    thresholds = np.array([each.threshold for each in detectors])
    bets = np.array([each.state()["bets"] for each in detectors]).T
    wealth, watched = np.zeros_like(bets), Watched(len(values))
    for t in range(values.shape[1]):
        grown = (1.0 + bets * (floors - values[:, t])) * (wealth + 1.0)
        wealth = grown if fed is None else np.where(fed[:, t], grown, wealth)
        rang = mean(wealth) >= thresholds
        if rang.any():
            watched.note(rang, t + 1)
            wealth[:, rang] = 0.0
    return watched


def conformal(p_values: Floats, threshold: float) -> Watched:
    """Run one conformal e-SR per row of p values, [replicates, time]."""
    rows, length = p_values.shape
    wealth, watched = np.zeros((len(POWERS) + len(HEDGED), rows)), Watched(rows)
    for t in range(length):
        p = p_values[:, t]
        factors = [power * p ** (power - 1.0) for power in POWERS]
        factors += [(1.0 - s) + s * power * p ** (power - 1.0) for s, power in HEDGED]
        wealth = np.stack(factors) * (wealth + 1.0)
        rang = mean(wealth) >= threshold
        if rang.any():
            watched.note(rang, t + 1)
            wealth[:, rang] = 0.0
    return watched


def cusum(values: Floats, means: Floats, deviations: Floats, limit: float) -> Watched:
    """Run one CUSUM for falls per row of `values`, [replicates, time]."""
    sums, watched = np.zeros(len(values)), Watched(len(values))
    for t in range(values.shape[1]):
        sums = np.maximum(0.0, sums + (means - values[:, t]) / deviations - ALLOWANCE)
        rang = sums >= limit
        if rang.any():
            watched.note(rang, t + 1)
            sums[rang] = 0.0
    return watched


def mean(wealth: Floats) -> Floats:
    """Return the mean over bets, added in the order in which the class adds."""
    total = np.zeros(wealth.shape[1])
    for each in wealth:
        total = total + each
    return total / len(wealth)
