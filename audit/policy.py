"""Turns alarms into a decision: ask for a retraining, or wait; always with reasons.

The policy never trains. It opens at most one request at a time, spaced by a cool-down and
limited by a budget, so that a storm of alarms, or someone who provokes them, cannot retrain at
will.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from audit.alarms import Alarm, State
from audit.decided import Kind, Reason

# What is read off a heatmap.
HEATMAPS = frozenset({"activation_recall", "relevance_mass"})


@dataclass(frozen=True, slots=True)
class Plan:
    """When a retraining may be asked for.

    Attributes:
        minimum_evidence: Records that an alarm must rest on, and records with a region that a
            training could use; at least 1.
        cool_down: Least time between two requests for one model.
        budget: Most requests for one model within `budget_window`.
        budget_window: The time that the budget is for.
        needs_acknowledgement: Whether a person must have seen the alarm first.
        measures: The measures whose alarms may ask for a retraining; others only inform.
    """

    minimum_evidence: int = 50
    cool_down: timedelta = timedelta(days=1)
    budget: int = 4
    budget_window: timedelta = timedelta(days=30)
    needs_acknowledgement: bool = False
    measures: frozenset[str] = frozenset(
        {
            "activation_recall",
            "relevance_mass",
            "part_reliance",
            # What older versions' alarms are about.
            "flip",
            "directed_flip",
            "probability_shift",
        }
    )

    def __post_init__(self) -> None:
        if self.minimum_evidence < 1 or self.budget < 0:
            raise ValueError(
                f"minimum evidence {self.minimum_evidence} (at least 1), "
                f"budget {self.budget} (at least 0)"
            )
        if self.cool_down < timedelta(0) or self.budget_window <= timedelta(0):
            raise ValueError(
                f"cool-down {self.cool_down} (not negative), "
                f"budget window {self.budget_window} (above 0)"
            )

    @property
    def without_heatmaps(self) -> "Plan":
        """The plan for a version whose heatmaps fail their check: alarms over them inform."""
        return replace(self, measures=self.measures - HEATMAPS)


@dataclass(frozen=True, slots=True)
class PastRequest:
    """An earlier request for the same model.

    Attributes:
        request_id: Its name.
        requested_at: When it was made.
        settled: Whether it is done with: promoted, rejected, failed or cancelled.
    """

    request_id: str
    requested_at: datetime
    settled: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy decided, and why.

    Attributes:
        retrain: Whether to ask for a retraining.
        reasons: Never empty.
        alarm_ids: The alarms that the request would answer; empty when waiting.
    """

    retrain: bool
    reasons: tuple[Reason, ...]
    alarm_ids: tuple[str, ...]

    @property
    def gist(self) -> frozenset[tuple[Kind, str]]:
        """The kinds of the reasons and their alarms: what makes two decisions differ."""
        return gist(self.reasons)


def decide(
    alarms: Sequence[Alarm],
    plan: Plan,
    *,
    regions: Mapping[str, int],
    requests: Sequence[PastRequest],
    now: datetime,
) -> Decision:
    """Decide for one model version.

    Args:
        alarms: The alarms of the version, in any state.
        plan: What is allowed.
        regions: Records with a region that a training could use, per source.
        requests: All earlier requests for the model, of any version.
        now: The present.
    """
    ripe = [alarm for alarm in alarms if not _objections(alarm, plan, regions)]
    blocking = blocks(plan, requests, now)
    if ripe and not blocking:
        chosen = sorted(ripe, key=lambda alarm: alarm.alarm_id)
        return Decision(
            retrain=True,
            reasons=tuple(_told(alarm) for alarm in chosen),
            alarm_ids=tuple(alarm.alarm_id for alarm in chosen),
        )
    standing = sorted((a for a in alarms if _open(a)), key=lambda alarm: alarm.alarm_id)
    if not standing:  # whatever else would hinder a request, nobody wants one
        quiet = Reason("quiet", "no alarm stands unanswered")
        return Decision(retrain=False, reasons=(quiet,), alarm_ids=())
    reasons = [reason for alarm in standing for reason in _objections(alarm, plan, regions)]
    return Decision(retrain=False, reasons=(*reasons, *blocking), alarm_ids=())


def gist(reasons: Iterable[Reason]) -> frozenset[tuple[Kind, str]]:
    """Return the kinds of reasons and their alarms, without the numbers that change."""
    return frozenset((each.kind, each.alarm_id) for each in reasons)


def blocks(plan: Plan, requests: Sequence[PastRequest], now: datetime) -> list[Reason]:
    """Return why no request may be made at all now; empty if one may."""
    reasons = [
        Reason("unsettled", f"request {each.request_id} is not settled yet")
        for each in requests
        if not each.settled
    ]
    # A moment far ahead was taken from a clock that has gone back since: it binds nobody.
    near = [each.requested_at for each in requests]
    near = [each for each in near if abs(now - each) < plan.cool_down]
    if near:
        until = (max(near) + plan.cool_down).isoformat()
        reasons.append(Reason("cooling", f"cooling down until {until}"))
    recent = sum(abs(now - each.requested_at) < plan.budget_window for each in requests)
    if recent >= plan.budget:
        days = plan.budget_window / timedelta(days=1)
        said = f"budget spent: {recent} of {plan.budget} requests in {days:g} days"
        reasons.append(Reason("spent", said))
    return reasons


def _open(alarm: Alarm) -> bool:
    return alarm.state in (State.ALARM, State.ACKNOWLEDGED)


def _objections(alarm: Alarm, plan: Plan, regions: Mapping[str, int]) -> list[Reason]:
    """Return why this alarm does not ask for a retraining yet; empty if it does."""
    name, reasons = alarm.alarm_id, list[Reason]()
    if not _open(alarm):
        return [Reason("quiet", f"alarm {name} is {alarm.state}", name)]
    if alarm.series.measure not in plan.measures:
        said = f"alarm {name}: {alarm.series.measure} informs, it asks for no retraining"
        reasons.append(Reason("informs", said, name))
    if plan.needs_acknowledgement and alarm.state is not State.ACKNOWLEDGED:
        said = f"alarm {name} waits for a person to acknowledge it"
        reasons.append(Reason("unseen", said, name))
    observed, least = alarm.evidence.observations, plan.minimum_evidence
    if observed < least:
        said = f"alarm {name} rests on {observed} of {least} records"
        reasons.append(Reason("thin", said, name))
    usable = regions.get(alarm.series.source, 0) if alarm.series.source else sum(regions.values())
    if usable < least:
        said = f"alarm {name}: {usable} of {least} records with a region to train on"
        reasons.append(Reason("untrainable", said, name))
    return reasons


def _told(alarm: Alarm) -> Reason:
    evidence = alarm.evidence
    said = (
        f"alarm {alarm.alarm_id}: {alarm.series}; statistic {evidence.value:.4g} against "
        f"{evidence.threshold:.4g} after {evidence.observations} records"
    )
    return Reason("ripe", said, alarm.alarm_id)
