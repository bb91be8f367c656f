"""The life of an alarm, step by step and as a state machine."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from audit import alarms
from audit.alarms import Evidence, Resolution, State
from audit.detectors.base import Level
from audit.detectors.esr import MixtureESR
from audit.detectors.family import Series, Side
from audit.errors import TransitionError

START = datetime(2026, 1, 1, tzinfo=UTC)
SERIES = Series("digits", 3, "activation_recall", Side.LOW, "7", "client")
THIN, STRONG = Evidence(10, 5.0, 100.0), Evidence(80, 120.0, 100.0)


def begun() -> alarms.Alarm:
    return alarms.begin("a1", SERIES, threshold=100.0, now=START)


def raised() -> alarms.Alarm:
    return alarms.observe(begun(), Level.ALARM, STRONG, now=START)


def test_the_whole_life() -> None:
    later = [START + timedelta(minutes=minute) for minute in range(6)]
    alarm = alarms.observe(begun(), Level.WARNING, THIN, now=later[1])
    alarm = alarms.observe(alarm, Level.ALARM, STRONG, now=later[2])
    alarm = alarms.acknowledge(alarm, actor="ada", reason="stickers again", now=later[3])
    alarm = alarms.request(alarm, "r1", actor="policy", reason="evidence 80", now=later[4])
    alarm = alarms.close(
        alarm, Resolution.REPAIRED, actor="ada", reason="version 4 promoted", now=later[5]
    )

    assert list(State) == [step.state for step in alarm.steps]
    assert later == [step.at for step in alarm.steps]
    assert ("r1", Resolution.REPAIRED, STRONG) == (
        alarm.request_id,
        alarm.resolution,
        alarm.evidence,
    )


def test_a_warning_may_pass_but_an_alarm_and_its_evidence_stand() -> None:
    warned = alarms.observe(begun(), Level.WARNING, THIN, now=START)
    calm = alarms.observe(warned, Level.OK, THIN, now=START)
    alarm = alarms.observe(raised(), Level.OK, THIN, now=START)

    assert calm.state is State.OK
    assert alarm.state is State.ALARM
    assert alarm.evidence == STRONG
    assert alarm.standing


def test_evidence_is_kept_up_to_date_without_a_step() -> None:
    alarm = alarms.observe(begun(), Level.OK, THIN, now=START)

    assert alarm.evidence == THIN
    assert len(alarm.steps) == 1


def test_evidence_is_read_from_the_detector() -> None:
    detector = MixtureESR(floor=0.5, threshold=50)
    detector.update(0.1)

    assert Evidence(1, detector.statistic, 50.0) == Evidence.of(detector)


@pytest.mark.parametrize(("actor", "reason"), [("", "seen"), ("ada", "  ")])
def test_a_person_must_say_who_and_why(actor, reason) -> None:
    with pytest.raises(TransitionError, match="actor and a reason"):
        alarms.acknowledge(raised(), actor=actor, reason=reason, now=START)


def test_what_was_not_raised_cannot_be_acknowledged_requested_or_repaired() -> None:
    steps = {
        "acknowledge": lambda alarm: alarms.acknowledge(alarm, actor="ada", reason="x", now=START),
        "request": lambda alarm: alarms.request(alarm, "r", actor="ada", reason="x", now=START),
        "close": lambda alarm: alarms.close(
            alarm, Resolution.REPAIRED, actor="ada", reason="x", now=START
        ),
    }
    for step in steps.values():
        with pytest.raises(TransitionError, match="a1"):
            step(begun())


def test_a_watch_without_alarm_ends_when_its_version_is_replaced() -> None:
    ended = alarms.close(
        begun(), Resolution.REPLACED, actor="auditor", reason="version 4 serves", now=START
    )

    assert ended.state is State.CLOSED
    assert not ended.standing


class Life(RuleBasedStateMachine):
    """Any order of calls: nothing un-raises an alarm, refused steps change nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.alarm = begun()
        self.was_raised = False

    @rule(level=st.sampled_from(list(Level)), value=st.floats(0, 1e6))
    def observe(self, level, value) -> None:
        self.alarm = alarms.observe(self.alarm, level, Evidence(1, value, 10.0), now=START)
        self.was_raised |= self.alarm.state is State.ALARM

    @rule(
        name=st.sampled_from(["acknowledge", "request", "close"]),
        resolution=st.sampled_from(list(Resolution)),
    )
    def person(self, name, resolution) -> None:
        before = self.alarm
        say = {"actor": "ada", "reason": "because", "now": START}
        step = {
            "acknowledge": lambda: alarms.acknowledge(before, **say),
            "request": lambda: alarms.request(before, "r1", **say),
            "close": lambda: alarms.close(before, resolution, **say),
        }[name]
        try:
            self.alarm = step()
        except TransitionError:
            return
        assert self.alarm.state in alarms.FOLLOWING[before.state]

    @precondition(lambda self: self.was_raised)
    @invariant()
    def stays_raised(self) -> None:
        assert self.alarm.raised_at is not None
        assert self.alarm.state not in (State.OK, State.WARNING)

    @invariant()
    def history_ends_in_the_present(self) -> None:
        assert self.alarm.steps[-1].state is self.alarm.state
        assert (self.alarm.resolution is not None) == (self.alarm.state is State.CLOSED)
        assert self.alarm.standing == (self.was_raised and self.alarm.state is not State.CLOSED)


TestLife = Life.TestCase
TestLife.settings = settings(deadline=None, max_examples=60, stateful_step_count=15)
