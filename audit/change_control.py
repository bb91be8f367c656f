"""The change-control plan: what a retraining may change, on what, how often, and who agrees.

The plan is a file under version control, not a setting that drifts. Its digest is stored with
every promotion, so that it can be told later which rules were in force, and whatever it does not
allow is refused with a sentence that names the rule.
"""

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from audit.errors import GateError, OutsidePlanError, PlanError
from audit.gate import Margins
from audit.policy import PastRequest
from audit.rollout import Compared, Limits, Quiet

DEFAULT = Path(__file__).with_name("change_control.toml")

Approval = Literal["rule", "one", "two"]
Source = Literal["base", "labels", "regions", "reviews"]
_Section = TypeVar("_Section")
_NEEDED: Mapping[Approval, int] = {"rule": 0, "one": 1, "two": 2}
_WINDOW = timedelta(days=30)
_TEACHER = re.compile("[a-z0-9_-]+=[a-z0-9_-]+@[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class MayChange:
    """What may differ between champion and candidate.

    Attributes:
        weights: The weights; without it nothing can be retrained.
        objective: Names of the ways of learning that are allowed.
        architecture: The network itself.
        classes: The classes or their order.
        hyperparameters: Names of the numbers that a request may set.
    """

    weights: bool
    objective: tuple[str, ...]
    architecture: bool
    classes: bool
    hyperparameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DataRules:
    """What may be learnt from.

    Attributes:
        sources: "base" for what the champion learnt from; labels, regions and reviews from the
            audit store.
        fewest_annotated: Rows with a region or review that a training needs.
        largest_share_per_actor: Largest share of the rows that one person had a hand in, (0, 1].
        refuse_locked_rows: Whether a row of the locked set among the training rows ends it.
        teachers: Versions whose explanations a model may follow, as "model=name@version"; they
            have learnt without the cue.
    """

    sources: tuple[Source, ...]
    fewest_annotated: int
    largest_share_per_actor: float
    refuse_locked_rows: bool
    teachers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Auto:
    """How `auto` chooses a way of learning.

    Attributes:
        minutes: Longest time of the tournament; 0 takes the first of a ranking.
    """

    minutes: float = 10.0


@dataclass(frozen=True, slots=True)
class Frequency:
    """How often a model may be retrained.

    Attributes:
        cool_down_hours: Least hours between two retrainings.
        most_per_30_days: Most retrainings in 30 days.
    """

    cool_down_hours: float
    most_per_30_days: int


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """Who must agree after the gate has passed a candidate.

    Attributes:
        by: "rule" for nobody more, "one" or "two" for so many different persons.
        when_heatmaps_fall: Likewise, where the answers rest less on what is irrelevant, but the
            heatmaps look worse; the larger of the two counts.
    """

    by: Approval
    when_heatmaps_fall: Approval = "rule"

    @property
    def persons(self) -> int:
        """How many different persons must agree to any candidate."""
        return _NEEDED[self.by]

    def persons_for(self, *, conflict: bool) -> int:
        """Return how many different persons must agree.

        Args:
            conflict: Whether heatmaps speak against what the answers show (`Verdict.conflict`).
        """
        return max(self.persons, _NEEDED[self.when_heatmaps_fall]) if conflict else self.persons


@dataclass(frozen=True, slots=True)
class Promotion:
    """How a new champion is watched, and how it ceases to be one.

    Attributes:
        rollback_on_alarm: Whether an alarm within the watch moves the pointer back.
        watch_minutes: How long the new champion is watched.
    """

    rollback_on_alarm: bool
    watch_minutes: float


@dataclass(frozen=True, slots=True)
class Shadow:
    """How long a candidate answers silently beside the champion, and what stops it.

    Attributes:
        requests: Answers that are enough; 0 leaves the shadow out.
        seconds: Longest time.
        when_quiet: Whether it goes on or is withdrawn after that time with fewer answers.
        disagreement: Largest share of answers with another class than the champion's.
        recall_fall: Largest mean fall of the activation recall on the same images.
        errors: Largest share of requests that the candidate fails.
        latency_milliseconds: Median time per image that is allowed in any case.
        latency_ratio: Above that: largest median in multiples of the champion's.
        silence_seconds: How long nothing may be known before it is withdrawn.
    """

    requests: int
    seconds: float
    when_quiet: Quiet
    disagreement: float
    recall_fall: float
    errors: float
    latency_milliseconds: float
    latency_ratio: float
    silence_seconds: float = 120.0

    @property
    def limits(self) -> Limits:
        """What holds for its requests."""
        return _limits(self)

    @property
    def compared(self) -> Compared:
        """What may differ from the champion's answers."""
        return Compared(self.disagreement, self.recall_fall)


@dataclass(frozen=True, slots=True)
class Canary:
    """Which share of the requests a candidate answers before it becomes champion.

    Attributes:
        share: Of the requests, in (0, 1].
        requests: Answers that are enough; 0 leaves the canary out.
        seconds: Longest time.
        when_quiet: Whether it goes on or is withdrawn after that time with fewer answers.
        withdraw_on_alarm: Whether an alarm of its own withdraws it.
        errors: Largest share of requests that it fails; the champion answers those.
        latency_milliseconds: Median time per image that is allowed in any case.
        latency_ratio: Above that: largest median in multiples of the champion's.
        silence_seconds: How long nothing may be known before it is withdrawn.
    """

    share: float
    requests: int
    seconds: float
    when_quiet: Quiet
    withdraw_on_alarm: bool
    errors: float
    latency_milliseconds: float
    latency_ratio: float
    silence_seconds: float = 120.0

    @property
    def limits(self) -> Limits:
        """What holds for its requests."""
        return _limits(self)


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """The whole plan.

    Attributes:
        may_change: What may differ.
        data: What may be learnt from.
        auto: How one chooses by itself how to learn.
        frequency: How often.
        approval: Who agrees.
        shadow: How it answers silently first.
        canary: Which share of the requests it answers then.
        promotion: How it is watched as champion.
        margins: What the gate demands.
        digest: "sha256:" and the digest of the file's bytes.
    """

    may_change: MayChange
    data: DataRules
    auto: Auto
    frequency: Frequency
    approval: ApprovalRule
    shadow: Shadow
    canary: Canary
    promotion: Promotion
    margins: Margins
    digest: str

    def admit(
        self,
        *,
        objective: str,
        hyperparameters: Mapping[str, object],
        requests: Sequence[PastRequest],
        now: datetime,
    ) -> None:
        """Refuse a retraining that the plan does not allow.

        Args:
            objective: The way of learning that was asked for.
            hyperparameters: The numbers that were asked for.
            requests: Earlier retrainings of the model.
            now: The present.

        Raises:
            OutsidePlanError: Naming the rule.
        """
        allowed = self.may_change
        if not allowed.weights:
            raise OutsidePlanError("the plan allows no change of weights (may_change.weights)")
        if objective not in allowed.objective:
            raise OutsidePlanError(
                f"objective {objective!r} is not in the plan; it allows "
                f"{', '.join(allowed.objective)} (may_change.objective)"
            )
        beyond = sorted(hyperparameters.keys() - set(allowed.hyperparameters))
        if beyond:
            raise OutsidePlanError(
                f"{', '.join(beyond)} may not be set (may_change.hyperparameters)"
            )
        self._admit_now(requests, now)

    def admit_classifier(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Refuse a candidate of another kind than the plan allows.

        Args:
            before: The champion's "architecture", "head" and "classes".
            after: The candidate's.

        Raises:
            OutsidePlanError: Naming the rule.
        """
        for name in ("architecture", "head"):
            if before[name] != after[name] and not self.may_change.architecture:
                raise OutsidePlanError(
                    f"{name} {after[name]!r} instead of {before[name]!r} (may_change.architecture)"
                )
        if tuple(before["classes"]) != tuple(after["classes"]) and not self.may_change.classes:
            raise OutsidePlanError("other classes than the champion's (may_change.classes)")

    def admit_data(
        self, *, sources: Mapping[str, int], annotated: int, actors: Mapping[str, int]
    ) -> None:
        """Refuse training data that the plan does not allow.

        Args:
            sources: Rows by source.
            annotated: Rows with a region or a review.
            actors: Rows that a person had a hand in, by person.

        Raises:
            OutsidePlanError: Naming the rule.
        """
        foreign = sorted(name for name in sources if name not in self.data.sources)
        if foreign:
            raise OutsidePlanError(f"rows from {', '.join(foreign)} (data.sources)")
        if annotated < self.data.fewest_annotated:
            raise OutsidePlanError(
                f"{annotated} annotated rows, at least {self.data.fewest_annotated} are needed "
                "(data.fewest_annotated)"
            )
        total = sum(sources.values())
        for actor, count in sorted(actors.items()):
            if count > self.data.largest_share_per_actor * total:
                raise OutsidePlanError(
                    f"{actor} had a hand in {count} of {total} rows (data.largest_share_per_actor)"
                )

    def _admit_now(self, requests: Sequence[PastRequest], now: datetime) -> None:
        pause = timedelta(hours=self.frequency.cool_down_hours)
        latest = max((each.requested_at for each in requests), default=None)
        if latest is not None and now < latest + pause:
            until = (latest + pause).isoformat()
            raise OutsidePlanError(f"cooling down until {until} (frequency.cool_down_hours)")
        recent = sum(now - each.requested_at < _WINDOW for each in requests)
        if recent >= self.frequency.most_per_30_days:
            raise OutsidePlanError(f"{recent} retrainings in 30 days (frequency.most_per_30_days)")


def load(path: Path = DEFAULT) -> ChangePlan:
    """Read a plan.

    Raises:
        PlanError: If it cannot be read, or a rule is missing, unknown or out of range.
    """
    try:
        content = path.read_bytes()
        written = tomllib.loads(content.decode("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PlanError(f"{path} cannot be read as a change-control plan: {error}") from error
    sections = {each.name for each in fields(ChangePlan)} - {"digest"}
    written.setdefault("auto", {})  # plans of earlier versions have no such section
    if written.keys() != sections:
        odd = ", ".join(sorted(written.keys() ^ sections))
        raise PlanError(f"{path}: a plan has {', '.join(sorted(sections))}; look at {odd}")
    plan = ChangePlan(
        may_change=_section(MayChange, written["may_change"], "may_change"),
        data=_section(DataRules, written["data"], "data"),
        auto=_section(Auto, written["auto"], "auto"),
        frequency=_section(Frequency, written["frequency"], "frequency"),
        approval=_section(ApprovalRule, written["approval"], "approval"),
        shadow=_section(Shadow, written["shadow"], "shadow"),
        canary=_section(Canary, written["canary"], "canary"),
        promotion=_section(Promotion, written["promotion"], "promotion"),
        margins=_section(Margins, written["margins"], "margins"),
        digest="sha256:" + hashlib.sha256(content).hexdigest(),
    )
    _check_ranges(plan)
    return plan


def _limits(phase: Shadow | Canary) -> Limits:
    return Limits(
        requests=phase.requests,
        seconds=phase.seconds,
        when_quiet=phase.when_quiet,
        errors=phase.errors,
        latency_milliseconds=phase.latency_milliseconds,
        latency_ratio=phase.latency_ratio,
        silence_seconds=phase.silence_seconds,
    )


def _section(kind: type[_Section], written: object, name: str) -> _Section:
    """Return one table of the plan, every rule given and none unknown."""
    if not isinstance(written, dict):
        raise PlanError(f"{name} must be a table")
    hints = get_type_hints(kind)
    required = {each.name for each in fields(kind) if each.default is MISSING}  # type: ignore[arg-type]  # dataclasses only
    odd = sorted((written.keys() - hints.keys()) | (required - written.keys()))
    if odd:
        raise PlanError(f"{name}: {', '.join(odd)} is missing or unknown")
    try:
        return kind(
            **{key: _value(each, hints[key], f"{name}.{key}") for key, each in written.items()}
        )
    except GateError as error:
        raise PlanError(f"{name}: {error}") from error


def _value(given: object, kind: Any, where: str) -> object:  # noqa: ANN401 - types are values here
    if kind is float and isinstance(given, int) and not isinstance(given, bool):
        return float(given)
    if isinstance(kind, type):
        if type(given) is kind:
            return given
        raise PlanError(f"{where} must be of type {kind.__name__}, not {given!r}")
    choices = get_args(kind)
    if choices and choices[-1] is Ellipsis:
        if not isinstance(given, list):
            raise PlanError(f"{where} must be a list, not {given!r}")
        return tuple(_value(each, choices[0], where) for each in given)
    if given not in choices:
        raise PlanError(f"{where} must be one of {', '.join(map(str, choices))}, not {given!r}")
    return given


def _check_ranges(plan: ChangePlan) -> None:
    rules = {
        "data.fewest_annotated": plan.data.fewest_annotated >= 0,
        "data.largest_share_per_actor": 0 < plan.data.largest_share_per_actor <= 1,
        "auto.minutes": plan.auto.minutes >= 0,
        "frequency.cool_down_hours": plan.frequency.cool_down_hours >= 0,
        "frequency.most_per_30_days": plan.frequency.most_per_30_days >= 0,
        "data.teachers": all(map(_TEACHER.fullmatch, plan.data.teachers)),
        "promotion.watch_minutes": plan.promotion.watch_minutes >= 0,
        "canary.share": 0 < plan.canary.share <= 1,
    }
    for name, holds in rules.items():
        if not holds:
            raise PlanError(f"{name} is out of range")
    for name, read in (
        ("shadow", lambda: (plan.shadow.limits, plan.shadow.compared)),
        ("canary", lambda: plan.canary.limits),
    ):
        try:
            read()
        except PlanError as error:
            raise PlanError(f"{name}: {error}") from error
