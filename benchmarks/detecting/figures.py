"""Figures of the detection benchmark: what each detector did on each kind of stream."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from detecting import peers, replicas, streams
from detecting.streams import CHANGE, Change, Floats

from audit.detectors.cusum import siegmund_limit
from audit.detectors.esr import MixtureESR
from audit.detectors.reference import Reference
from audit.watch.watching import Promise

# A family of 10,000 records between false alarms; each record feeds two detectors (both sides of
# its class), so each detector has a threshold of 20,000.
RUN_LENGTH = 10_000
FED = 2
THRESHOLD = RUN_LENGTH * FED
# What a deployment has that changes no setting, and what it would have with other promises.
LIVE = Promise().family.threshold
PROMISES = (10.0, 30.0, 90.0)  # days

Alarms = Sequence[list[int]]
Run = Callable[[Floats, Floats], Alarms]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is simulated.

    Attributes:
        null: Replicates and length of the streams without change.
        replicates: Replicates of each change.
        peer_replicates: The same for the peers, which run one stream after another.
        horizon: Observations after a change.
        slow_horizon: The same for the slow change.
    """

    null: tuple[int, int]
    replicates: int
    peer_replicates: int
    horizon: int
    slow_horizon: int


FULL = Size((40, 10_000), 300, 60, 4_000, 20_000)
QUICK = Size((40, 5_000), 200, 10, 3_000, 6_000)


def esr_at(threshold: float) -> Run:
    """Return a run of our alarm, one detector per reference set."""

    def run(values: Floats, references: Floats) -> Alarms:
        known = [Reference.of(each) for each in references]
        watchers = [MixtureESR.watching(each, threshold=threshold) for each in known]
        return replicas.esr(values, watchers).alarms

    return run


def run_cusum(values: Floats, references: Floats) -> Alarms:
    """Run the CUSUM that is drawn beside it, with the same nominal run length."""
    means, deviations = references.mean(axis=1), references.std(axis=1, ddof=1)
    return replicas.cusum(values, means, deviations, siegmund_limit(THRESHOLD)).alarms


def one_by_one(peer: peers.Peer) -> Run:
    """Return a run of a peer over several streams."""
    return lambda values, references: [
        peer.run(value, reference) for value, reference in zip(values, references, strict=True)
    ]


OURS: tuple[tuple[str, Run], ...] = (
    ("e-SR (the alarm)", esr_at(THRESHOLD)),
    ("CUSUM (drawn)", run_cusum),
)


@dataclass(frozen=True, slots=True)
class Delay:
    """How late a change was found.

    Attributes:
        median: Median observations from the change to the alarm over all replicates, infinite
            when fewer than half found it.
        found: Share of the replicates that found it.
    """

    median: float
    found: float


@dataclass(frozen=True, slots=True)
class Row:
    """What one detector did.

    Attributes:
        name: The detector.
        between: Observations per false alarm for independent, autocorrelated (0.3) and daily
            cycling streams; infinite where there was none.
        observed: How many observations each of these rests on.
        delays: One per change, in the order of `streams.CHANGES`.
    """

    name: str
    between: tuple[float, float, float]
    observed: int
    delays: tuple[Delay, ...]


def rows(size: Size, seed: int) -> list[Row]:
    """Return one row per detector, ours first."""
    ours = [_row(name, run, size, size.replicates, seed) for name, run in OURS]
    return ours + [
        _row(peer.name, one_by_one(peer), size, size.peer_replicates, seed) for peer in peers.ALL
    ]


def promised(size: Size, seed: int) -> list[Row]:
    """Return one row per promise that the setting `false_alarm_days` could make."""
    return [
        _row(
            f"{days:g} days, threshold {Promise(days=days).family.threshold:,.0f}"
            + (" *" if Promise(days=days) == Promise() else ""),
            esr_at(Promise(days=days).family.threshold),
            size,
            size.replicates,
            seed,
        )
        for days in PROMISES
    ]


def _row(name: str, run: Run, size: Size, replicates: int, seed: int) -> Row:
    nulls = [
        lambda rng: streams.null(rng, *size.null),
        lambda rng: streams.null(rng, *size.null, autocorrelation=0.3),
        lambda rng: streams.daily(rng, *size.null),
    ]
    observed = size.null[0] * size.null[1]
    between = []
    for number, make in enumerate(nulls):
        rng = np.random.default_rng([seed, number])
        references = streams.reference(rng, size.null[0])
        count = sum(len(each) for each in run(make(rng), references))
        between.append(observed / count if count else np.inf)
    delays = tuple(_delay(run, change, size, replicates, seed) for change in streams.CHANGES)
    return Row(name, (between[0], between[1], between[2]), observed, delays)


def _delay(run: Run, change: Change, size: Size, replicates: int, seed: int) -> Delay:
    horizon = size.slow_horizon if change.name == "slow" else size.horizon
    rng = np.random.default_rng([seed, 100, *change.name.encode()])
    references = streams.reference(rng, replicates)
    alarms = run(streams.changed(rng, change, replicates, horizon), references)
    start = 0 if change.from_start else CHANGE
    delays = [next((at - start for at in each if at > start), np.inf) for each in alarms]
    return Delay(float(np.median(delays)), float(np.isfinite(delays).mean()))
