"""The situations that a table of delays does not show: families, class mix, strangers, choice."""

from dataclasses import dataclass

import numpy as np
from detecting import replicas, streams
from detecting.figures import FED, RUN_LENGTH, THRESHOLD
from detecting.streams import Floats

from audit import sampling
from audit.detectors.family import Family, Series, Side
from audit.detectors.reference import Reference
from audit.detectors.strangeness import StrangenessReference
from audit.sampling import Interest, QueuePlan

FAMILY = Family(days=10, records_per_day=RUN_LENGTH / 10, fed_per_record=FED)
FEATURES = 64
TAIL = 5


def series(side: Side, label: str) -> Series:
    """Return a series of the benchmark's model."""
    return Series("benchmark", 1, "activation_recall", side, label, "client")


def family(seed: int, *, replicates: int, records: int, autocorrelation: float) -> tuple[int, int]:
    """Return false alarms of whole families of 20 detectors, and the records they saw.

    Ten classes with mean recalls from 0.45 to 0.75, both sides of each; every record feeds the two
    detectors of its class. An alarm of any of them counts.
    """
    rng = np.random.default_rng([seed, 7])
    alarms = 0
    means = np.linspace(0.45, 0.75, 10)
    classes = rng.integers(0, 10, (replicates, records))
    uniform = streams.uniforms(rng, (replicates, records), autocorrelation)
    recall = streams.recall(uniform, means[classes])
    for label, mean in enumerate(means):
        history = rng.beta(10 * mean, 10 * (1 - mean), (replicates, streams.REFERENCE))
        for side in Side:
            kind = series(side, str(label))
            watchers = [FAMILY.watch(kind, Reference.of(each)) for each in history]
            oriented = recall if side is Side.LOW else 1.0 - recall
            found = replicas.esr(oriented, watchers, fed=classes == label)
            alarms += sum(len(each) for each in found.alarms)
    return alarms, replicates * records


def class_mix(seed: int, *, replicates: int, records: int) -> tuple[int, int]:
    """Return false alarms per class, and replicates in which a pooled detector alarmed.

    Two classes keep their recall (0.7 and 0.5) while the first falls from half to a quarter.
    """
    rng = np.random.default_rng([seed, 8])
    means = np.array([0.7, 0.5])
    second = (rng.random((replicates, records)) >= 0.25).astype(np.intp)
    recall = streams.recall(rng.random((replicates, records)), means[second])
    history = [
        rng.beta(10 * mean, 10 * (1 - mean), (replicates, streams.REFERENCE)) for mean in means
    ]
    alarms = 0
    for label, past in enumerate(history):
        for side in Side:
            kind = series(side, str(label))
            watchers = [FAMILY.watch(kind, Reference.of(each)) for each in past]
            oriented = recall if side is Side.LOW else 1.0 - recall
            found = replicas.esr(oriented, watchers, fed=second == label)
            alarms += sum(len(each) for each in found.alarms)
    half = streams.REFERENCE // 2
    pooled = np.concatenate([past[:, :half] for past in history], axis=1)
    watchers = [FAMILY.watch(series(Side.LOW, ""), Reference.of(each)) for each in pooled]
    return alarms, sum(bool(each) for each in replicas.esr(recall, watchers).alarms)


@dataclass(frozen=True, slots=True)
class Strangers:
    """What the conformal detector did.

    Attributes:
        calibration: Size of the calibration sets.
        false_alarms: On embeddings like the reference.
        observed: How many of those it saw.
        contaminated: Median observations until 2 % strangers were found.
        shifted: Median observations until a shift of every feature by 0.25 deviations was found.
        found: Share of the replicates in which the 2 % were found.
    """

    calibration: int
    false_alarms: int
    observed: int
    contaminated: float
    shifted: float
    found: float


def strangers(seed: int, *, calibration: int, replicates: int, records: int) -> Strangers:
    """Return what the conformal detector did on heavy-tailed embeddings of 64 features.

    A stranger is off by 3 standard deviations in every feature.
    """
    rng = np.random.default_rng([seed, 9])
    quiet = np.empty((replicates, records))
    contaminated, shifted = np.empty((2, replicates, 3000))
    for row in range(replicates):
        known = StrangenessReference.fit(embeddings(rng, 2000), embeddings(rng, calibration))
        quiet[row] = p_values(known, embeddings(rng, records))
        some = embeddings(rng, 3000) + 3.0 * (rng.random((3000, 1)) < 0.02)
        contaminated[row] = p_values(known, some)
        shifted[row] = p_values(known, embeddings(rng, 3000) + 0.25)
    false = sum(len(each) for each in replicas.conformal(quiet, THRESHOLD).alarms)
    delays = [first(replicas.conformal(each, THRESHOLD)) for each in (contaminated, shifted)]
    return Strangers(
        calibration=calibration,
        false_alarms=false,
        observed=quiet.size,
        contaminated=float(np.median(delays[0])),
        shifted=float(np.median(delays[1])),
        found=float(np.isfinite(delays[0]).mean()),
    )


def embeddings(rng: np.random.Generator, count: int) -> Floats:
    """Return heavy-tailed embeddings with unit variance, [count, 64]."""
    return rng.standard_t(TAIL, (count, FEATURES)) / np.sqrt(TAIL / (TAIL - 2))


def p_values(known: StrangenessReference, seen: Floats) -> Floats:
    """Return the conformal p value of each embedding."""
    return known.p_values(known.strangeness(seen))


def first(watched: replicas.Watched) -> Floats:
    """Return the first alarm of each replicate, infinite where there is none."""
    return np.array([each[0] if each else np.inf for each in watched.alarms])


@dataclass(frozen=True, slots=True)
class Choice:
    """How wrong the mean recall is when read off the reviewed records.

    Attributes:
        truth: Mean over all records, averaged over the repetitions.
        naive: Mean of the plain means of the reviewed records.
        weighted: Mean of the weighted estimates.
        worst: Largest error of a weighted estimate.
        covered: Share of the 95 % intervals that hold the truth.
        reviewed: Share of the records that were reviewed.
    """

    truth: float
    naive: float
    weighted: float
    worst: float
    covered: float
    reviewed: float


def choice(seed: int, *, repetitions: int, records: int) -> Choice:
    """Return what choosing reviews by interest does to the mean, and what weighting repairs."""
    plan = QueuePlan(random_share=0.02, chosen_share=0.4, sharpness=2.0)
    truth, naive, estimates, reviewed = [], [], [], []
    for repetition in range(repetitions):
        rng = np.random.default_rng([seed, 10, repetition])
        recall = rng.beta(6, 4, records)
        doubt = np.clip(1.0 - recall + rng.normal(0.0, 0.15, records), 0.0, 1.0)
        chosen = [
            sampling.choose(
                f"{repetition}-{number}",
                Interest(uncertainty=each, outside=1.0 - value, flip=float(each > 0.7)),
                plan,
                key=b"benchmark",
            )
            for number, (value, each) in enumerate(zip(recall, doubt, strict=True))
        ]
        seen = [number for number, each in enumerate(chosen) if each.stratum is not None]
        truth.append(recall.mean())
        naive.append(recall[seen].mean())
        reviewed.append(len(seen) / records)
        estimates.append(
            sampling.weighted_mean(recall[seen], [chosen[number].inclusion for number in seen])
        )
    errors = [abs(each.value - real) for each, real in zip(estimates, truth, strict=True)]
    covered = [each.low <= real <= each.high for each, real in zip(estimates, truth, strict=True)]
    return Choice(
        truth=float(np.mean(truth)),
        naive=float(np.mean(naive)),
        weighted=float(np.mean([each.value for each in estimates])),
        worst=float(max(errors)),
        covered=float(np.mean(covered)),
        reviewed=float(np.mean(reviewed)),
    )
