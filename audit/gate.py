"""The gate: may a candidate take the champion's place? Passed or refused, always with reasons.

Both models answer the same locked set, which neither has learnt from. Every rule must hold
(an intersection-union test, so the number of rules needs no correction), and what cannot be judged
for want of rows is refused, not waved through.

Evidence about reasons is weighed in this order. First interventions: do right answers change with
what is irrelevant? Then the answers in painted, exchanged and reversed surroundings. Heatmaps come
last, for a classifier that gives a shortcut up may well look elsewhere than before: where reliance
has fallen, a heatmap's lower share is shown, and asks for a person where the plan says so, but
refuses nobody. Heatmaps that merely spread are refused in any case.

References:
    Berger (1982), "Multiparameter hypothesis testing and acceptance sampling": if every part must
    pass a test of level α, the whole has level α.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.errors import GateError
from audit.intervals import Estimate
from audit.outcomes import Outcomes
from audit.paired import Draws
from audit.watch.healthy import HEALTHY


@dataclass(frozen=True, slots=True)
class Margins:
    """How much worse a candidate may be, and how much better it must be.

    Attributes:
        accuracy: Largest loss of accuracy over all rows, in [0, 1].
        class_accuracy: Largest loss of accuracy of any class.
        group_accuracy: Largest loss of accuracy of any group.
        reliance_floor: A rate below this counts as none: where the candidate stays under it,
            reliance need not fall further. Of reliance on a part, what networks without a shortcut
            show counts as none as well.
        surroundings: Largest loss of accuracy where the irrelevant part is painted over, or
            another image's.
        recall: Largest loss of activation recall.
        excess: Largest loss of recall beyond its chance level, and of relevance mass: what a
            heatmap that merely spreads loses.
        uniform: Largest rise of the share of nearly uniform heatmaps.
        uniform_entropy: From this entropy on a heatmap counts as nearly uniform.
        calibration: Largest rise of the expected calibration error.
        latency_ratio: Largest median latency, in multiples of the champion's.
        latency_milliseconds: Largest median latency at all.
        fewest: Rows of a class or group below which nothing can be said about it.
        level: Confidence level of the two-sided intervals; a rule reads one end.
    """

    accuracy: float = 0.02
    class_accuracy: float = 0.05
    group_accuracy: float = 0.05
    reliance_floor: float = 0.02
    surroundings: float = 0.05
    recall: float = 0.02
    excess: float = 0.02
    uniform: float = 0.05
    uniform_entropy: float = 0.98
    calibration: float = 0.03
    latency_ratio: float = 1.5
    latency_milliseconds: float = 200.0
    fewest: int = 20
    level: float = 0.9

    def __post_init__(self) -> None:
        shares = {k: v for k, v in asdict(self).items() if not k.startswith(("latency", "fewest"))}
        for name, value in shares.items():
            if not 0.0 <= value <= 1.0:
                raise GateError(f"margin {name} is {value}; it must lie in [0, 1]")
        if self.latency_ratio <= 0 or self.latency_milliseconds <= 0 or self.fewest < 1:
            raise GateError("latency bounds and fewest must be positive")


@dataclass(frozen=True, slots=True)
class Technical:
    """What is not read off the answers.

    Attributes:
        parity: Whether the exported graph answers as the trained network does.
        champion_milliseconds: Median latency of one image, measured beside the candidate's.
        candidate_milliseconds: Likewise.
    """

    parity: bool
    champion_milliseconds: float
    candidate_milliseconds: float


@dataclass(frozen=True, slots=True)
class Check:
    """One rule and how it came out.

    Attributes:
        rule: For example "class accuracy".
        subject: The class or group that it is about; "" for all rows.
        passed: Whether it holds.
        difference: Candidate minus champion with its interval; None where nothing was estimated.
        limit: What the relevant end of the interval was compared with.
        reason: One sentence with the figures.
        levels: The champion's and the candidate's own value; None where nothing was measured.
        decides: Whether it refuses where it does not hold; else stronger evidence speaks against
            it, and it is only shown.
    """

    rule: str
    subject: str
    passed: bool
    difference: Estimate | None
    limit: float
    reason: str
    levels: tuple[float, float] | None = None
    decides: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the candidate may be promoted.

    Attributes:
        passed: True when every check passed that decides.
        champion: What was to be replaced.
        candidate: What was to replace it.
        dataset: Digest of the locked set.
        observations: Rows of the set.
        seed: Of the resamples.
        margins: What was demanded.
        checks: Every rule.
    """

    passed: bool
    champion: str
    candidate: str
    dataset: str
    observations: int
    seed: int
    margins: Margins
    checks: tuple[Check, ...] = field(default=())

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was refused, or that everything held; never empty."""
        failed = tuple(each.reason for each in self.checks if each.decides and not each.passed)
        if failed:
            return failed
        if not self.conflict:
            return (f"all {len(self.checks)} checks passed",)
        shown = tuple(each for each in self.checks if not each.passed)
        return (
            f"{len(self.checks) - len(shown)} checks passed",
            *(f"shown only, as the answers rest less on the cue: {each.reason}" for each in shown),
        )

    @property
    def conflict(self) -> bool:
        """Whether heatmaps speak against what the answers show."""
        return any(not each.passed and not each.decides for each in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as plain values, reasons included."""
        return {**asdict(self), "reasons": list(self.reasons), "conflict": self.conflict}


def decide(
    champion: Outcomes,
    candidate: Outcomes,
    technical: Technical,
    margins: Margins,
    *,
    seed: int,
) -> Verdict:
    """Compare candidate and champion on one locked set.

    Args:
        champion: The champion's answers.
        candidate: The candidate's answers to the same rows.
        technical: Parity and latency.
        margins: What is demanded.
        seed: Of the resamples.

    Raises:
        GateError: If the two were not asked the same rows.
    """
    champion.require_comparable(candidate)
    draws = Draws(champion.units, seed, level=margins.level)
    reliance = _reliance(champion, candidate, draws, margins)
    fell = reliance.difference is not None and reliance.difference.high < 0.0
    checks = (
        *_accuracy(champion, candidate, draws, margins),
        reliance,
        *_surroundings(champion, candidate, draws, margins),
        *_focus(champion, candidate, draws, margins, decides=not fell),
        _calibration(champion, candidate, draws, margins),
        *_technical(technical, margins),
    )
    return Verdict(
        passed=all(each.passed or not each.decides for each in checks),
        champion=champion.model,
        candidate=candidate.model,
        dataset=champion.dataset,
        observations=len(champion.labels),
        seed=seed,
        margins=margins,
        checks=checks,
    )


def _accuracy(
    champion: Outcomes, candidate: Outcomes, draws: Draws, margins: Margins
) -> Iterator[Check]:
    """Yield non-inferiority over all rows, per class and per group."""
    change = candidate.correct - champion.correct
    parts: Sequence[tuple[str, float, NDArray[np.int64], tuple[str, ...]]] = (
        ("accuracy", margins.accuracy, np.zeros_like(champion.labels), ("",)),
        ("class accuracy", margins.class_accuracy, champion.labels, champion.classes),
        ("group accuracy", margins.group_accuracy, champion.groups, champion.group_names),
    )
    for rule, margin, column, names in parts:
        for index, name in enumerate(names):
            rows = column == index
            count = int(rows.sum())
            if count < margins.fewest:
                said = f"{rule} of {name!r}: {count} rows, at least {margins.fewest} are needed"
                yield Check(rule, name, False, None, -margin, said)
                continue
            levels = _means(champion.correct, candidate.correct, rows)
            found = draws.mean(change, rows, imaginary=1.0)
            yield _not_below(rule, name, found, -margin, levels)


def _reliance(champion: Outcomes, candidate: Outcomes, draws: Draws, margins: Margins) -> Check:
    """Return whether the right answers rest less on what is irrelevant."""
    rule = "shortcut reliance"
    before, after, floor = champion.flip, candidate.flip, margins.reliance_floor
    what = "of the right answers change with what is irrelevant"
    columns = champion.part_reliance, candidate.part_reliance
    # Where all rows are answered alike, no part can be carried: flips judge, as before.
    if all(each is not None and (~np.isnan(each)).sum() >= margins.fewest for each in columns):
        before, after = (np.asarray(each) for each in columns)
        # Networks without a shortcut show as much as the bound.
        what, floor = "of an answer is carried by an irrelevant part", max(floor, HEALTHY.mean)
    known = ~np.isnan(after), ~np.isnan(before)
    fewest = min(int(each.sum()) for each in known)
    if fewest < margins.fewest:
        said = f"{rule}: {fewest} probed answers, at least {margins.fewest} are needed"
        return Check(rule, "", False, None, 0.0, said)
    level = draws.mean(after, known[0])
    found = draws.rate_difference((after, known[0]), (before, known[1]))
    passed = found.high < 0.0 or level.high <= floor
    said = (
        f"{rule}: {level.value:.3f} {what}, {_shown(found)} against the champion; its upper "
        f"bound must lie below 0, or the rate itself under {floor:g}"
    )
    levels = float(np.nanmean(before)), float(np.nanmean(after))
    return Check(rule, "", passed, found, 0.0, said, levels)


def _surroundings(
    champion: Outcomes, candidate: Outcomes, draws: Draws, margins: Margins
) -> Iterator[Check]:
    """Yield non-inferiority in surroundings that no longer tell what they told."""
    for name, before in champion.surroundings.items():
        rule, after = f"{name} surroundings", candidate.surroundings[name]
        rows = ~np.isnan(before)
        if rows.sum() < margins.fewest:
            said = f"{rule}: {rows.sum()} rows, at least {margins.fewest} are needed"
            yield Check(rule, "", False, None, -margins.surroundings, said)
            continue
        found = draws.mean(after - before, rows, imaginary=1.0)
        levels = _means(before, after, rows)
        yield _not_below(rule, "", found, -margins.surroundings, levels)


def _focus(
    champion: Outcomes, candidate: Outcomes, draws: Draws, margins: Margins, *, decides: bool
) -> Iterator[Check]:
    """Yield the heatmaps' shares, which may decide or not, and the guard that always does."""
    columns = ("recall", "recall_chance", "mass", "entropy")
    known = [~np.isnan(getattr(each, name)) for each in (champion, candidate) for name in columns]
    rows = np.logical_and.reduce(known)
    if rows.sum() < margins.fewest:
        said = f"activation recall: {rows.sum()} rows with a region, {margins.fewest} are needed"
        yield Check("activation recall", "", False, None, -margins.recall, said)
        return
    shares = (
        ("activation recall", margins.recall, champion.recall, candidate.recall),
        ("recall beyond chance", margins.excess, champion.beyond_chance, candidate.beyond_chance),
        ("relevance mass", margins.excess, champion.mass, candidate.mass),
    )
    for rule, margin, before, after in shares:
        found = draws.mean(after - before, rows)
        check = _not_below(rule, "", found, -margin, _means(before, after, rows))
        yield replace(check, decides=decides)
    flat = [
        (each.entropy >= margins.uniform_entropy).astype(np.float64)
        for each in (champion, candidate)
    ]
    found = draws.mean(flat[1] - flat[0], rows)
    yield _not_above("uniform heatmaps", found, margins.uniform, _means(flat[0], flat[1], rows))


def _calibration(champion: Outcomes, candidate: Outcomes, draws: Draws, margins: Margins) -> Check:
    found = draws.calibration_difference(
        (candidate.confidence, candidate.correct), (champion.confidence, champion.correct)
    )
    levels = (
        draws.calibration_error(champion.confidence, champion.correct),
        draws.calibration_error(candidate.confidence, candidate.correct),
    )
    return _not_above("calibration error", found, margins.calibration, levels)


def _technical(technical: Technical, margins: Margins) -> Iterator[Check]:
    said = "the graph answers as the network does" if technical.parity else "parity failed"
    yield Check("parity", "", technical.parity, None, 1.0, f"parity: {said}")
    limit = min(
        margins.latency_milliseconds, margins.latency_ratio * technical.champion_milliseconds
    )
    passed = technical.candidate_milliseconds <= limit  # NaN must fail
    yield Check(
        "latency",
        "",
        passed,
        None,
        limit,
        f"latency: {technical.candidate_milliseconds:.2f} ms, at most {limit:.2f} ms",
        (technical.champion_milliseconds, technical.candidate_milliseconds),
    )


def _not_below(
    rule: str, subject: str, found: Estimate, limit: float, levels: tuple[float, float]
) -> Check:
    about = f" of {subject}" if subject else ""
    said = f"{rule}{about}: {_shown(found)}; the lower bound must reach {limit:+.3f}"
    return Check(rule, subject, found.low >= limit, found, limit, said, levels)


def _not_above(rule: str, found: Estimate, limit: float, levels: tuple[float, float]) -> Check:
    said = f"{rule}: {_shown(found)}; the upper bound may reach {limit:+.3f}"
    return Check(rule, "", found.high <= limit, found, limit, said, levels)


def _means(
    before: NDArray[np.floating], after: NDArray[np.floating], rows: NDArray[np.bool_]
) -> tuple[float, float]:
    return float(before[rows].mean()), float(after[rows].mean())


def _shown(found: Estimate) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
