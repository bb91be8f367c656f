"""Whether a model is right for the right reasons, in one sentence, and what to do next.

A pure function of what is known. It says no more than the intervals carry: a share is called low
when the whole interval is, and a heatmap is said to lie on the evidence when the whole interval
lies above chance. Interventions outrank heatmaps: an answer that follows what should not matter
is a wrong reason however the heatmap looks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from audit.intervals import Estimate

# How far the irrelevant part may move answers before that is called reliance.
TOLERATED: Final = 0.2
# Measures whose alarms speak of reasons; all others speak of the data.
REASONS: Final = frozenset({"activation_recall", "relevance_mass"})
# Measures of reliance that earlier versions of this program watched; their alarms may still stand.
BEFORE: Final = frozenset({"directed_flip", "flip"})
Colour: TypeAlias = Literal["ok", "warning", "alarm", "unknown"]
_WEEK = timedelta(days=6)


class Kind(StrEnum):
    """What the sentence says; the first that holds, from the top."""

    EMPTY = "empty"
    BLIND = "blind"
    WRONG_REASON = "wrong-reason"
    ATTENTION = "attention"
    TRIAL = "trial"
    DRIFT = "drift"
    FRESH = "fresh"
    SILENT = "silent"
    UNWATCHED = "unwatched"
    LEANING = "leaning"
    LEARNING = "learning"
    RIGHT_REASON = "right-reason"
    UNPROBED = "unprobed"
    UNDECIDED = "undecided"


class Step(StrEnum):
    """The one thing to do next; surfaces turn it into a button or a command."""

    PROMOTE = "promote"
    START_AUDITOR = "start-auditor"
    REVIEW = "review"
    RETRAIN = "retrain"
    FOLLOW_RUN = "follow-run"
    FOLLOW_TRIAL = "follow-trial"
    LOOK_AT_ALARMS = "look-at-alarms"
    ASK = "ask"
    SEND_REGIONS = "send-regions"
    WAIT = "wait"
    NONE = "none"


_WORDS: Final = {
    Step.PROMOTE: "Promote a version",
    Step.START_AUDITOR: "Start the auditor",
    Step.REVIEW: "Review answers",
    Step.RETRAIN: "Retrain",
    Step.FOLLOW_RUN: "Follow the retraining",
    Step.FOLLOW_TRIAL: "Follow the trial",
    Step.LOOK_AT_ALARMS: "Look at what moved",
    Step.ASK: "Ask for an answer",
    Step.SEND_REGIONS: "Say where the evidence belongs",
    Step.WAIT: "Wait for more answers",
    Step.NONE: "Nothing to do",
}


@dataclass(frozen=True, slots=True)
class Raised:
    """An alarm that stands.

    Attributes:
        measure: What it watches.
        class_label: Of the answers of which class; "" for all.
        state: "alarm", "acknowledged" or "requested".
        since: When it was raised.
        reference: The mean when the version was made; None where that is not known.
    """

    measure: str
    class_label: str
    state: str
    since: datetime
    reference: float | None = None


@dataclass(frozen=True, slots=True)
class Beyond:
    """How far heatmaps lie on the evidence.

    Attributes:
        estimate: Mean of the measure with its interval.
        chance: The same of a heatmap that ignores the image; None where that is not known.
    """

    estimate: Estimate
    chance: float | None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about a model's champion.

    Attributes:
        version: The champion; None where no version answers.
        audited: Whether an auditor has written down what it knows.
        answers: How many answers of it are looked at, the newest ones.
        with_region: How many of them have a region.
        raised: Alarms that stand.
        reliance: How far the irrelevant part moves answers, as a mean rise
            of probability (`audit.reliance.carrying`), with its interval; None where none was
            probed.
        reliance_measure: Name of the measure behind `reliance`, as alarms carry it.
        recall: How far heatmaps lie on the evidence; None where no answer has a region.
        learning: Values that the furthest watch over reasons has, and how many it needs, while
            none of them can raise an alarm; None once one can.
        trial: Version on trial and its phase; None for none.
        retraining: Whether one is under way.
        promoted: When the champion was promoted; None where it is not known.
    """

    version: int | None
    audited: bool = True
    answers: int = 0
    with_region: int = 0
    raised: Sequence[Raised] = ()
    reliance: Estimate | None = None
    reliance_measure: str = "part_reliance"
    recall: Beyond | None = None
    learning: tuple[int, int] | None = None
    trial: tuple[int, str] | None = None
    retraining: bool = False
    promoted: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence about the reasons of a model.

    Attributes:
        kind: What it says.
        colour: "ok", "warning", "alarm" or "unknown"; never "ok" where nothing is watched.
        sentence: The same in words.
        step: What to do next.
    """

    kind: Kind
    colour: Colour
    sentence: str
    step: Step

    @property
    def label(self) -> str:
        """The next step in words."""
        return _WORDS[self.step]


def judge(known: Known, *, now: datetime) -> Verdict:
    """Return what the evidence says about the reasons of a model, and the next step.

    Examples:
        >>> from datetime import UTC, datetime
        >>> judge(Known(version=None), now=datetime(2026, 3, 1, tzinfo=UTC)).sentence
        'No version answers yet.'
    """
    if known.version is None:
        return Verdict(Kind.EMPTY, "unknown", "No version answers yet.", Step.PROMOTE)
    if not known.audited:
        said = "Nobody watches: no auditor looks at this model's answers."
        return Verdict(Kind.BLIND, "unknown", said, Step.START_AUDITOR)
    return _alarmed(known, now) or _on_trial(known) or _quiet(known, now)


def _alarmed(known: Known, now: datetime) -> Verdict | None:
    if not known.raised:
        return None
    about = [each for each in known.raised if _of_reasons(each, known)]
    step = _after(known, about or known.raised)
    if about:
        since = when(min(each.since for each in about), now)
        proven = [each for each in about if _by_intervention(each, known)]
        if proven:
            said = f"Right for the wrong reason since {since}: {_proof(proven, known)}."
            return Verdict(Kind.WRONG_REASON, "alarm", said, step)
        said = f"Perhaps right for the wrong reason since {since}: {_moved(about, known)}."
        return Verdict(Kind.ATTENTION, "alarm", said, step)
    since = when(min(each.since for each in known.raised), now)
    moved = ", ".join(sorted({_DATA.get(each.measure, each.measure) for each in known.raised}))
    said = f"The pictures have changed since {since} ({moved}); {_reasons_meanwhile(known)}."
    step = Step.LOOK_AT_ALARMS if step is Step.REVIEW else step
    return Verdict(Kind.DRIFT, "warning", said, step)


_DATA: Final = {
    "strangeness": "answers look unlike those it was made with",
    "confidence": "answers are less sure",
}


def _of_reasons(raised: Raised, known: Known) -> bool:
    return raised.measure in REASONS or _by_intervention(raised, known)


def _by_intervention(raised: Raised, known: Known) -> bool:
    return raised.measure in {known.reliance_measure, *BEFORE}


def _after(known: Known, raised: Sequence[Raised]) -> Step:
    if known.trial is not None:
        return Step.FOLLOW_TRIAL
    if known.retraining or any(each.state == "requested" for each in raised):
        return Step.FOLLOW_RUN
    return Step.RETRAIN if all(each.state == "acknowledged" for each in raised) else Step.REVIEW


def _proof(raised: Sequence[Raised], known: Known) -> str:
    """Return what interventions show."""
    whom, was = _whom(raised), raised[0].reference
    before = "" if was is None else f", {percent(was)} when it was made"
    if known.reliance is None:
        return f"what should not matter moves its answers{whom}"
    return f"what should not matter moves its answers{whom} by {_share(known.reliance)}{before}"


def _moved(raised: Sequence[Raised], known: Known) -> str:
    """Return what heatmaps show: a hint, which interventions may bear out or not."""
    moved = f"its heatmaps{_whom(raised)} have moved off the evidence"
    if known.recall is not None:
        chance = known.recall.chance
        beside = "" if chance is None else f", chance is {chance:.2f}"
        moved += f", {known.recall.estimate.value:.2f} of them lies on it{beside}"
    if known.reliance is None:
        return f"{moved}; what its answers follow is not known"
    return f"{moved}; what should not matter moves its answers by {_share(known.reliance)}"


def _whom(raised: Sequence[Raised]) -> str:
    labels = sorted({each.class_label for each in raised if each.class_label})
    if not labels or any(not each.class_label for each in raised):
        return ""
    return f" (“{labels[0]}”)" if len(labels) == 1 else f" ({len(labels)} classes)"


def _reasons_meanwhile(known: Known) -> str:
    if known.reliance is not None and known.reliance.high <= TOLERATED:
        share = _share(known.reliance)
        return f"its reasons have not: what should not matter moves answers by {share}"
    if known.with_region == 0:
        return "nothing says whether its reasons have"
    return "no alarm says that its reasons have"


def _on_trial(known: Known) -> Verdict | None:
    if known.trial is None:
        return None
    number, phase = known.trial
    how = "answers silently beside" if phase == "shadow" else "answers a share beside"
    said = f"Version {number} is on trial: it {how} version {known.version}."
    return Verdict(Kind.TRIAL, "warning", said, Step.FOLLOW_TRIAL)


def _quiet(known: Known, now: datetime) -> Verdict:
    if not known.answers:
        if known.promoted is not None:
            said = (
                f"Version {known.version} answers since {when(known.promoted, now)}; "
                "no request has reached it yet."
            )
            return Verdict(Kind.FRESH, "unknown", said, Step.ASK)
        return Verdict(Kind.SILENT, "unknown", "No answer yet, so nothing to judge.", Step.ASK)
    if not known.with_region and known.reliance is None:
        said = (
            f"Nothing watched yet: none of {_answers(known.answers)} says where the evidence "
            "belongs. Send regions, or attach a segmenter or a template."
        )
        return Verdict(Kind.UNWATCHED, "unknown", said, Step.SEND_REGIONS)
    if known.reliance is not None and known.reliance.low > TOLERATED:
        said = (
            f"Leans on what should not matter: it moves answers by {_share(known.reliance)}; "
            "that is no change since it was made, so no alarm stands."
        )
        return Verdict(Kind.LEANING, "warning", said, Step.RETRAIN)
    if known.learning is not None:
        have, need = known.learning
        said = f"Learning what is normal, {have} of {need} answers: no alarm can be raised before."
        return Verdict(Kind.LEARNING, "unknown", said, Step.WAIT)
    return _calm(known)


def _calm(known: Known) -> Verdict:
    lit = known.recall
    above = lit is not None and lit.chance is not None and lit.estimate.low > lit.chance
    if known.reliance is None:
        if above:
            said = (
                f"Its heatmaps lie on the evidence in {_answers(known.with_region)}, but no "
                "answer was probed, so what the answers follow is not known."
            )
        else:
            said = (
                "No alarm, but nothing shows its reasons either: heatmaps are no better than "
                "chance allows, and no answer was probed."
            )
        return Verdict(Kind.UNPROBED, "unknown", said, Step.WAIT)
    probed = _answers(known.reliance.observations)
    if known.reliance.high <= TOLERATED:
        said = (
            f"Right for the right reasons as far as {probed} show: what should not "
            f"matter moves them by {_share(known.reliance)}."
        )
        return Verdict(Kind.RIGHT_REASON, "ok", said, Step.NONE)
    said = (
        f"Not decided: what should not matter moves {probed} by {_share(known.reliance)}, "
        f"which may be more than the {percent(TOLERATED)} that is tolerated."
    )
    return Verdict(Kind.UNDECIDED, "unknown", said, Step.WAIT)


def _answers(number: int) -> str:
    return "1 answer" if number == 1 else f"{number} answers"


def _share(estimate: Estimate) -> str:
    """Return a share with its interval, in whole per cents."""
    low, high = percent(max(0.0, estimate.low)), percent(min(1.0, estimate.high))
    return f"{percent(estimate.value)} ({low} to {high})"


def percent(value: float) -> str:
    """Return a share as people say it.

    Examples:
        >>> percent(0.352), percent(0.004), percent(0.0)
        ('35 %', '0.4 %', '0 %')
    """
    hundred = 100.0 * value
    return f"{hundred:.1f} %" if 0.0 < hundred < 1.0 else f"{hundred:.0f} %"


def when(moment: datetime, now: datetime) -> str:
    """Return a moment as people say it: the weekday within a week, else the date, and the time."""
    near = timedelta(0) <= now - moment <= _WEEK
    return moment.strftime("%A %H:%M" if near else "%Y-%m-%d %H:%M")
