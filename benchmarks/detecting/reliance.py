"""The live alarm over reliance on a part: how rarely it lies, and how early it comes."""

from dataclasses import dataclass

import numpy as np
from detecting import replicas
from detecting.streams import Floats

from audit.detectors.esr import TOLERANCE, MixtureESR
from audit.watch.healthy import HEALTHY
from audit.watch.watching import Promise

# Mean reliance after a cue was learnt, from a weak one to one that decides alone.
LEVELS = (0.3, 0.4, 0.5, 0.8)
_HORIZON = 2_000


@dataclass(frozen=True, slots=True)
class Reliance:
    """What the detector of the served promise did.

    Attributes:
        threshold: Its threshold.
        false_alarms: On records of networks as bad as the bound allows.
        observed: How many of those there were.
        delays: Mean reliance → median probed answers until the alarm; infinite for never.
    """

    threshold: float
    false_alarms: int
    observed: int
    delays: dict[float, float]


def reliance(seed: int, *, replicates: int, records: int) -> Reliance:
    """Return alarms at the bound itself, the worst that counts as healthy, and delays above it.

    A probe's value is mostly zero and sometimes large; so are these: Beta distributed with the
    bound's own deviation, or the most that the mean allows.
    """
    rng = np.random.default_rng([seed, 13])
    threshold = Promise().family.threshold
    detectors = [
        MixtureESR.watching(HEALTHY.mirrored(), threshold=threshold, tolerance=TOLERANCE)
        for _ in range(replicates)
    ]
    null = replicas.esr(1.0 - values(rng, HEALTHY.mean, (replicates, records)), detectors)
    delays = {}
    for level in LEVELS:
        found = replicas.esr(1.0 - values(rng, level, (replicates, _HORIZON)), detectors)
        firsts = [each[0] if each else np.inf for each in found.alarms]
        delays[level] = float(np.median(firsts))
    return Reliance(
        threshold, sum(len(each) for each in null.alarms), replicates * records, delays
    )


def values(rng: np.random.Generator, mean: float, shape: tuple[int, int]) -> Floats:
    """Return draws in [0, 1] with a mean and the bound's deviation."""
    variance = min(HEALTHY.deviation**2, 0.9 * mean * (1 - mean))
    total = mean * (1 - mean) / variance - 1
    return rng.beta(mean * total, (1 - mean) * total, shape)
