"""Judges a candidate that is on trial with live requests: wait, go on, or withdraw, with reasons.

It is looked at again and again while evidence comes in, so a rule stops a candidate early only
where the near end of an interval is beyond the plan; at the end of a phase the failures are
compared as they are. What is not known is no good news: time in which nothing could be known does
not count, and after too much of it the candidate is withdrawn.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from audit import intervals
from audit.errors import PlanError

Quiet: TypeAlias = Literal["go_on", "withdraw"]
Step: TypeAlias = Literal["wait", "go_on", "withdraw"]
# Of the intervals: many looks are taken at each, so each is wide.
LEVEL = 0.998
# Below this nothing is concluded from a share, a mean or a median.
FEWEST = 8
# Evidence that ends so many seconds ago is no longer that of now.
FRESH_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds in one phase of a rollout.

    Attributes:
        requests: Evidence that is enough; 0 leaves the phase out.
        seconds: Longest time; afterwards `when_quiet` counts.
        when_quiet: What to do when the time is over with less evidence.
        errors: Largest share of requests that the candidate fails, in [0, 1].
        latency_milliseconds: Median time per image that is allowed in any case.
        latency_ratio: Above that: largest median in multiples of the champion's.
        silence_seconds: How long nothing may be known before the candidate is withdrawn.
    """

    requests: int
    seconds: float
    when_quiet: Quiet
    errors: float
    latency_milliseconds: float
    latency_ratio: float
    silence_seconds: float = 120.0

    def __post_init__(self) -> None:
        bounds = (
            *(self.seconds, self.silence_seconds),
            *(self.latency_milliseconds, self.latency_ratio),
        )
        if self.requests < 0 or not 0.0 <= self.errors <= 1.0 or not min(bounds) >= 0.0:
            raise PlanError(
                "requests, seconds and latencies must not be negative, errors lie in [0, 1]"
            )


@dataclass(frozen=True, slots=True)
class Compared:
    """What may differ between a candidate's silent answers and the champion's.

    Attributes:
        disagreement: Largest share of answers with another class, in [0, 1].
        recall_fall: Largest mean fall of the activation recall on the same images, in [0, 1].
    """

    disagreement: float
    recall_fall: float

    def __post_init__(self) -> None:
        if not (0.0 <= self.disagreement <= 1.0 and 0.0 <= self.recall_fall <= 1.0):
            raise PlanError("disagreement and recall_fall lie in [0, 1]")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about a candidate in its present phase.

    Attributes:
        requests: Images that it was asked.
        failed: Of those, where it gave no usable answer; the champion gave one.
        failure: What it said about the last of them; "" for none.
        unusable: Workers that could not load it.
        dropped: Images that it could not be asked because its queue was full.
        compared: Images that both have answered.
        differed: Of those, with another class.
        falls: Champion's activation recall minus the candidate's, where a region is known.
        milliseconds: The candidate's median time per image; None before the first.
        champion_milliseconds: The champion's, on the same machine at the same time.
        alarms: Standing alarms of the candidate that could ask for a retraining, as sentences.
        known_until: Everything up to this moment is in here; None where nothing is known.
        unknown: Why nothing later is known; "" where nobody can tell.
    """

    requests: int = 0
    failed: int = 0
    failure: str = ""
    unusable: int = 0
    dropped: int = 0
    compared: int = 0
    differed: int = 0
    falls: tuple[float, ...] = ()
    milliseconds: float | None = None
    champion_milliseconds: float | None = None
    alarms: tuple[str, ...] = ()
    known_until: datetime | None = None
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be done with a candidate.

    Attributes:
        step: Wait for more, go on to the next phase, or withdraw it.
        reasons: Why, one sentence each; never empty.
    """

    step: Step
    reasons: tuple[str, ...]

    @property
    def reason(self) -> str:
        """The reasons in one line."""
        return "; ".join(self.reasons)


def judge(
    limits: Limits,
    evidence: Evidence,
    *,
    since: datetime,
    began: datetime,
    now: datetime,
    compared: Compared | None = None,
) -> Judgement:
    """Return what is to be done with a candidate now.

    What is bad counts whenever it is known. What is good counts where the evidence is of now, or
    complete up to the end of the phase.

    Args:
        limits: Of the phase.
        evidence: What is known.
        since: When the phase began.
        began: Since when the evidence is looked at; a judge that has just come cannot know yet.
        now: The present.
        compared: What may differ in the shadow; None where nothing is compared.
    """
    until = evidence.known_until
    seconds = 0.0 if until is None else max(0.0, (until - since).total_seconds())
    silent = (now - max(since, began if until is None else until)).total_seconds()
    enough = evidence.requests >= limits.requests
    over = enough or seconds >= limits.seconds
    broken = [*_broken(limits, evidence, over=over)]
    if compared is not None:
        broken += _different(compared, evidence)
    seen = f"{evidence.requests} of {limits.requests} requests in {seconds:.0f} s"
    if broken:
        return Judgement("withdraw", (*broken, seen))
    if until is None or (silent > FRESH_SECONDS and seconds < limits.seconds):
        return _unknown(limits, evidence, seen, silent)
    if enough:
        return Judgement("go_on", (f"{seen}, nothing beyond the plan",))
    if not over:
        return Judgement("wait", (seen,))
    if limits.when_quiet == "withdraw":
        return Judgement("withdraw", (f"too little evidence: {seen}",))
    return Judgement("go_on", (f"{seen}, and the plan goes on with what there is",))


def _unknown(limits: Limits, evidence: Evidence, seen: str, silent: float) -> Judgement:
    """Return what follows from knowing nothing for so many seconds."""
    why = f": {evidence.unknown}" if evidence.unknown else ""
    said = f"nothing is known about the last {max(0.0, silent):.0f} s{why}"
    if silent < limits.silence_seconds:
        return Judgement("wait", (said, seen))
    return Judgement("withdraw", (said, f"at most {limits.silence_seconds:g} s may be", seen))


def _broken(limits: Limits, evidence: Evidence, *, over: bool) -> Iterator[str]:
    yield from evidence.alarms
    if evidence.unusable:
        yield f"{evidence.unusable} workers could not load it: {evidence.failure}"
    failed, asked = evidence.failed, evidence.requests
    if failed:
        found = intervals.wilson(failed, asked, level=LEVEL)
        known = asked >= FEWEST and found.low > limits.errors
        if known or (over and found.value > limits.errors):
            yield (
                f"{failed} of {asked} requests failed, at most {limits.errors:.1%} may: "
                f"{evidence.failure}"
            )
    own, other = evidence.milliseconds, evidence.champion_milliseconds
    if own is not None and other is not None and asked - failed >= min(FEWEST, limits.requests):
        most = max(limits.latency_milliseconds, limits.latency_ratio * other)
        if not own <= most:  # NaN must not pass
            yield f"too slow: {own:.1f} ms per image, at most {most:.1f} ms"


def _different(plan: Compared, evidence: Evidence) -> Iterator[str]:
    differed, both = evidence.differed, evidence.compared
    if both >= FEWEST:
        share = intervals.wilson(differed, both, level=LEVEL)
        if share.low > plan.disagreement:
            yield (
                f"{differed} of {both} answers differ from the champion's, "
                f"at most {plan.disagreement:.1%} may"
            )
    if len(evidence.falls) >= FEWEST:
        fall = _mean(evidence.falls)
        if fall.low > plan.recall_fall:
            yield (
                f"activation recall falls by {fall.value:.3f} on the same images, "
                f"at most {plan.recall_fall:.3f} may"
            )


def _mean(values: Sequence[float]) -> intervals.Estimate:
    """Return the mean of at least two values with a normal interval."""
    count = len(values)
    mean = math.fsum(values) / count
    spread = math.fsum((each - mean) ** 2 for each in values) / (count - 1)
    return intervals.normal(mean, math.sqrt(spread / count), count, level=LEVEL)
