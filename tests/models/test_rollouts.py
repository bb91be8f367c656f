"""The candidate on trial changes with the pointer or not at all."""

from pathlib import Path

import pytest
from hypothesis import settings as limits
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.strategies import integers, sampled_from

from models import champion, rollouts
from models.champion import Champion
from models.errors import VersionConflictError
from models.registry import Registry
from models.rollout import MOST_ENDED, Rollout
from services import clock
from tests import graphs
from tests.served import MODEL, registry_of_colours

NOW = clock.now()


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return registry_of_colours(tmp_path, 40.0, 20.0, 10.0)


def begin(registry: Registry, version: int = 2, **changed: object) -> Rollout:
    wanted = {"rollout_id": "r1", "phase": "shadow", "share": 0.2, "reason": "a", "actor": "b"}
    return rollouts.begin(registry, MODEL, version, now=NOW, **(wanted | changed))


def test_a_shadow_becomes_a_canary_becomes_champion(registry) -> None:
    shadow = begin(registry)
    canary = rollouts.advance(registry, MODEL, "r1", now=clock.now())
    registry.promote(MODEL, 2, reason="good", actor="c", now=clock.now(), rollout_id="r1")
    pointer = registry.pointer(MODEL)

    assert ("shadow", "canary") == (shadow.phase, canary.phase)
    assert canary.started_at == shadow.since < canary.since
    assert (2, None) == (pointer.version, pointer.rollout)
    assert ["promoted"] == [each.outcome for each in pointer.ended]


def test_beginning_and_advancing_twice_is_once(registry) -> None:
    assert begin(registry) == begin(registry, reason="again")
    rollouts.advance(registry, MODEL, "r1", now=NOW)

    assert rollouts.advance(registry, MODEL, "r1", now=clock.now()).since == NOW.isoformat()


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda registry: begin(registry, 3, rollout_id="r2"), "on trial already"),
        (lambda registry: rollouts.withdraw(registry, MODEL, reason="x", actor="y", now=NOW,
                                            rollout_id="r2"), "r1 is under way"),
        (lambda registry: registry.promote(MODEL, 3, reason="x", actor="y", now=NOW,
                                           rollout_id="r2"), "r1 is under way"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_candidate_on_trial_changes_nothing(registry, act, words) -> None:
    begin(registry)
    before = registry.pointer(MODEL)
    with pytest.raises(VersionConflictError, match=words):
        act(registry)

    assert before == registry.pointer(MODEL)


def test_the_champion_itself_and_other_classes_cannot_be_tried(registry, tmp_path) -> None:
    with pytest.raises(VersionConflictError, match="cannot be compared"):
        begin(registry, 1)
    files = graphs.write_version(tmp_path / "other", classes=("a", "b", "c"))
    registry.add(MODEL, files, now=NOW)
    with pytest.raises(VersionConflictError, match="other classes"):
        begin(registry, 4)
    with pytest.raises(ValueError, match=r"share in \(0, 1\]"):
        begin(registry, 2, share=0.0)
    with pytest.raises(VersionConflictError, match="no rollout"):
        rollouts.withdraw(registry, MODEL, reason="x", actor="y", now=NOW)


def test_another_champion_ends_the_trial_in_the_same_step(registry) -> None:
    begin(registry)
    registry.promote(MODEL, 3, reason="x", actor="ann", now=NOW)
    end = registry.pointer(MODEL).ended[-1]

    assert ("withdrawn", "ann", "promote to version 3 meanwhile") == (
        end.outcome,
        end.actor,
        end.reason,
    )


def test_a_pointer_that_an_earlier_program_wrote_is_read(registry) -> None:
    path = registry.root / MODEL / champion.FILE
    text = path.read_text().replace('"rollout": null,', "").replace(',\n "ended": []', "")
    text = text.replace('"plan": "",', "").replace(',\n   "approved_by": ""', "")
    path.write_text(text)
    found = registry.pointer(MODEL)

    assert (1, None, "") == (found.version, found.rollout, found.history[0].approved_by)


class Pointer(RuleBasedStateMachine):
    """Whatever is done in whatever order: one trial at most, always against the champion."""

    @initialize()
    def first(self) -> None:
        self.pointer = Champion().promote(1, "d1", reason="r", actor="a", now=NOW)
        self.names = 0

    def act(self, change) -> None:
        try:
            self.pointer = change(self.pointer)
        except VersionConflictError:
            return

    @rule(version=integers(1, 4))
    def promote(self, version) -> None:
        self.act(lambda each: each.promote(version, f"d{version}", reason="r", actor="a", now=NOW))

    @rule()
    def rollback(self) -> None:
        self.act(lambda each: each.rollback(reason="r", actor="a", now=NOW))

    @rule(version=integers(1, 4), phase=sampled_from(["shadow", "canary"]))
    def begin(self, version, phase) -> None:
        self.names += 1
        wanted = Rollout(
            f"r{self.names}", version, f"d{version}", self.pointer.version or 0, phase, 0.5, "",
            "", "r", "a", "", NOW.isoformat(), NOW.isoformat(),
        )  # fmt: skip
        self.act(lambda each: each.begin(wanted))

    @rule()
    def advance(self) -> None:
        self.act(lambda each: each.advance(None, MODEL, now=NOW))

    @rule()
    def withdraw(self) -> None:
        self.act(lambda each: each.withdraw(None, MODEL, reason="r", actor="a", now=NOW))

    @invariant()
    def whole(self) -> None:
        rollout = self.pointer.rollout
        assert rollout is None or rollout.champion == self.pointer.version != rollout.version
        names = [each.rollout.rollout_id for each in self.pointer.ended]
        assert len(names) == len(set(names)) <= MOST_ENDED
        assert rollout is None or rollout.rollout_id not in names


TestPointer = Pointer.TestCase
TestPointer.settings = limits(max_examples=40, stateful_step_count=20, deadline=None)
