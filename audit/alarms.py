"""The life of an alarm: ok → warning → alarm → acknowledged → requested → closed.

Only the detector moves an alarm up to `alarm`; from there on only a person or the policy moves it,
with a reason. Nothing moves it back: a measure that recovers by itself leaves its alarm
standing, and a new watch begins only with `begin`, on the record. Times are arguments; there is
no clock here.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from audit.detectors.base import Detector, Level
from audit.detectors.family import Series
from audit.errors import TransitionError


class State(StrEnum):
    """Where an alarm stands."""

    OK = "ok"
    WARNING = "warning"
    ALARM = "alarm"
    ACKNOWLEDGED = "acknowledged"
    REQUESTED = "requested"
    CLOSED = "closed"


class Resolution(StrEnum):
    """How an alarm was closed."""

    REPAIRED = "repaired"
    FALSE_ALARM = "false-alarm"
    ACCEPTED = "accepted"
    REPLACED = "replaced"


# Who may follow whom. `requested` skips the acknowledgement where the plan lets a rule decide.
FOLLOWING: dict[State, frozenset[State]] = {
    State.OK: frozenset({State.WARNING, State.ALARM, State.CLOSED}),
    State.WARNING: frozenset({State.OK, State.ALARM, State.CLOSED}),
    State.ALARM: frozenset({State.ACKNOWLEDGED, State.REQUESTED, State.CLOSED}),
    State.ACKNOWLEDGED: frozenset({State.REQUESTED, State.CLOSED}),
    State.REQUESTED: frozenset({State.CLOSED}),
    State.CLOSED: frozenset(),
}
LEVELS = {Level.OK: State.OK, Level.WARNING: State.WARNING, Level.ALARM: State.ALARM}
AUDITOR = "auditor"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an alarm rests on.

    Attributes:
        observations: How many the detector has taken.
        value: Its statistic.
        threshold: The statistic that raises the alarm.
    """

    observations: int
    value: float
    threshold: float

    @classmethod
    def of(cls, detector: Detector) -> "Evidence":
        """Return what `detector` rests on now."""
        return cls(detector.observations, detector.statistic, detector.threshold)


@dataclass(frozen=True, slots=True)
class Step:
    """One step in the life of an alarm.

    Attributes:
        state: The state that was entered.
        at: When.
        actor: Who moved it; "auditor" for the detector.
        reason: Why; never empty for a step that a person or the policy took.
    """

    state: State
    at: datetime
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """One watch over one series, from its beginning until it is closed.

    Attributes:
        alarm_id: Unique name.
        series: What is watched.
        state: Where it stands.
        evidence: What it rests on; frozen when the alarm is raised.
        steps: How it came there, oldest first.
        request_id: The retraining request that answers it, once there is one.
        resolution: How it was closed, once it is.
    """

    alarm_id: str
    series: Series
    state: State
    evidence: Evidence
    steps: tuple[Step, ...]
    request_id: str | None = None
    resolution: Resolution | None = None

    @property
    def standing(self) -> bool:
        """Whether the alarm was raised and is not closed."""
        return self.raised_at is not None and self.state is not State.CLOSED

    @property
    def raised_at(self) -> datetime | None:
        """When the alarm was raised, or None if it never was."""
        return next((step.at for step in self.steps if step.state is State.ALARM), None)


def begin(alarm_id: str, series: Series, *, threshold: float, now: datetime) -> Alarm:
    """Begin a watch over `series`."""
    step = Step(State.OK, now, AUDITOR, "the watch begins")
    return Alarm(alarm_id, series, State.OK, Evidence(0, 0.0, threshold), (step,))


def observe(alarm: Alarm, level: Level, evidence: Evidence, *, now: datetime) -> Alarm:
    """Return the alarm after the detector's latest word.

    Before the alarm the evidence is kept up to date. Once raised, the alarm and its evidence
    stand, whatever the detector says.
    """
    if alarm.state not in (State.OK, State.WARNING):
        return alarm
    current = replace(alarm, evidence=evidence)
    state = LEVELS[level]
    if state is alarm.state:
        return current
    said = f"statistic {evidence.value:.4g} of {evidence.threshold:.4g}"
    return _moved(current, Step(state, now, AUDITOR, f"{said} after {evidence.observations}"))


def acknowledge(alarm: Alarm, *, actor: str, reason: str, now: datetime) -> Alarm:
    """Return the alarm as seen by a person.

    Raises:
        TransitionError: If it is not raised, or already acknowledged, or no reason is given.
    """
    return _moved(alarm, _stated(State.ACKNOWLEDGED, actor, reason, now))


def request(alarm: Alarm, request_id: str, *, actor: str, reason: str, now: datetime) -> Alarm:
    """Return the alarm as answered by a retraining request.

    Raises:
        TransitionError: If it is not raised, or already requested, or no reason is given.
    """
    moved = _moved(alarm, _stated(State.REQUESTED, actor, reason, now))
    return replace(moved, request_id=request_id)


def close(
    alarm: Alarm, resolution: Resolution, *, actor: str, reason: str, now: datetime
) -> Alarm:
    """Return the alarm as settled, or the watch as ended.

    A watch that never raised its alarm ends only because its version was replaced.

    Raises:
        TransitionError: If it is closed already, no reason is given, or the resolution does not
            fit.
    """
    if alarm.raised_at is None and resolution is not Resolution.REPLACED:
        raise TransitionError(
            f"alarm {alarm.alarm_id} was never raised; it can be replaced, not {resolution}"
        )
    moved = _moved(alarm, _stated(State.CLOSED, actor, reason, now))
    return replace(moved, resolution=resolution)


def _stated(state: State, actor: str, reason: str, now: datetime) -> Step:
    if not actor.strip() or not reason.strip():
        raise TransitionError(f"to be {state}, an alarm needs an actor and a reason")
    return Step(state, now, actor, reason)


def _moved(alarm: Alarm, step: Step) -> Alarm:
    if step.state not in FOLLOWING[alarm.state]:
        allowed = ", ".join(sorted(FOLLOWING[alarm.state])) or "nothing"
        raise TransitionError(
            f"alarm {alarm.alarm_id} is {alarm.state}; after that comes {allowed}, "
            f"not {step.state}"
        )
    return replace(alarm, state=step.state, steps=(*alarm.steps, step))
