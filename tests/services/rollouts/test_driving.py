"""A candidate under the eyes of the runner, with a journal and a store that can fail."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from audit import change_control
from audit.comparisons import ComparisonRecord
from audit.journal import reader
from audit.records import AlarmEvent, from_bytes
from audit.rollout import FRESH_SECONDS
from models.champion import Champion
from models.errors import VersionConflictError
from models.rollout import Rollout
from services.identifiers import identifier
from services.records import recording
from services.records.recording import Recorder
from services.records.stores import StoreReader
from services.rollouts import looks
from services.rollouts.driving import Driver
from services.rollouts.horizon import Horizon
from services.rollouts.moves import Mover
from tests import stores
from tests.entries import START
from tests.served import MODEL, registry_of_colours


@dataclass
class Trial:
    """One installation, its clock in our hands; `ingest` is what its auditor does."""

    home: Path
    driver: Driver
    store: stores.Store
    plan: Path
    now: datetime = START
    told: int = 0

    @property
    def pointer(self) -> Champion:
        return self.driver.mover.registry.pointer(MODEL)

    @property
    def rollout(self) -> Rollout:
        assert self.pointer.rollout is not None
        return self.pointer.rollout

    def begin(self, phase: str = "canary", **more: str | bool) -> Rollout:
        return self.driver.mover.begin(
            MODEL, 2, rollout_id=identifier(self.now), phase=phase, share=0.5, reason="a test",
            actor="ann", now=self.now, **more,
        )  # fmt: skip

    def answer(self, count: int, failure: str = "") -> None:
        """Let the candidate answer, and the worker write it down."""
        rollout = self.rollout
        for _ in range(count):
            self.told += 1
            record = ComparisonRecord(
                event_id=f"c{self.told}", event_time=self.now, rollout_id=rollout.rollout_id,
                phase=rollout.phase, prediction_id=f"p{self.told}", model=MODEL, version=2,
                champion=1, failure=failure, milliseconds=1.0, champion_milliseconds=1.0,
            )  # fmt: skip
            self.driver.mover.recorder.note([record])

    def alarm(self) -> None:
        self.driver.mover.recorder.note([
            AlarmEvent(
                event_id="a", event_time=self.now, alarm_id="alarm1", model=MODEL, version=2,
                measure="activation_recall", class_label="7", side="low", source="client",
                state="alarm", evidence={}, actor="auditor",
            )
        ])  # fmt: skip

    def ingest(self) -> None:
        folder = self.home / "journal"
        with self.store.ledger.batch(now=self.now) as batch:
            for body, place in list(reader.read(folder, {})):
                batch.ingest([(from_bytes(body), body, place)])
                batch.move_cursor(place)

    def after(self, seconds: float) -> str:
        """Look so many seconds later; return the step that was taken."""
        self.now += timedelta(seconds=seconds)
        return self.driver.drive(MODEL, self.rollout).step


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    registry = registry_of_colours(tmp_path, 10.0, 5.0)
    plan = tmp_path / "plan.toml"
    shutil.copy(change_control.DEFAULT, plan)
    store = stores.make(f"sqlite:///{tmp_path / 'audit.db'}", tmp_path)
    recorder = recording.open_recorder(tmp_path / "journal", source="w", key=b"key")
    digest = lambda: change_control.load(plan).digest  # noqa: E731 - read anew at every look
    mover = Mover(registry, recorder, digest, try_out=lambda _: None)
    reading = StoreReader(store.url)
    driver = Driver(
        mover, reading, lambda: change_control.load(plan), lambda: made.now,
        Horizon(tmp_path / "journal", START),
    )  # fmt: skip
    made = Trial(tmp_path, driver, store, plan)
    yield made
    recorder.close()
    reading.close()
    store.ledger.engine.dispose()


def test_a_canary_with_enough_good_answers_becomes_champion(trial: Trial) -> None:
    begun = trial.begin()
    trial.answer(49)
    trial.ingest()
    assert trial.after(1) == "wait"
    trial.answer(1)
    trial.ingest()

    assert trial.after(1) == "go_on"
    assert trial.pointer.version == 2
    move = trial.pointer.history[-1]
    assert ("ann", begun.plan) == (move.actor, move.plan)
    assert move.reason.startswith("a test (canary: 50 of 50 requests in 2 s, nothing")


def test_a_shadow_becomes_a_canary_and_where_the_plan_has_none_the_champion(trial: Trial) -> None:
    trial.begin("shadow")
    trial.answer(50)
    trial.ingest()
    assert trial.after(1) == "go_on"
    assert trial.rollout.phase == "canary"
    # The shadow's answers are none of the canary's.
    assert trial.after(1) == "wait"

    trial.driver.mover.withdraw(MODEL, reason="again", actor="ann", now=trial.now)
    text = trial.plan.read_text()
    shadow, canary = text.split("[canary]")
    trial.plan.write_text(f"{shadow}[canary]{canary.replace('requests = 50', 'requests = 0')}")
    trial.begin("shadow")
    trial.answer(50)
    trial.ingest()
    assert trial.after(1) == "go_on"
    assert trial.pointer.version == 2


def test_nobody_asking_withdraws_unless_a_person_wants_it_otherwise(trial: Trial) -> None:
    trial.begin()
    trial.ingest()
    assert trial.after(119) == "wait"
    assert trial.after(1) == "withdraw"
    assert "too little evidence: 0 of 50" in trial.pointer.ended[-1].reason

    trial.begin(when_quiet="go_on")
    trial.ingest()
    assert trial.after(120) == "go_on"
    assert trial.pointer.version == 2


@pytest.mark.parametrize("when_quiet", ["", "go_on"])
def test_a_failing_candidate_is_never_promoted_while_the_auditor_is_dead(
    trial: Trial, when_quiet: str
) -> None:
    trial.begin(when_quiet=when_quiet)
    trial.ingest()
    assert trial.after(1) == "wait"
    trial.answer(200, failure="boom")  # of which nobody tells

    assert {"wait"} == {trial.after(30) for _ in range(3)}
    assert trial.after(30) == "withdraw"
    assert trial.pointer.version == 1
    said = trial.pointer.ended[-1].reason
    assert "nothing is known about the last 120 s: the auditor has not ingested" in said


def test_a_failing_candidate_is_never_promoted_while_the_store_is_away(trial: Trial) -> None:
    trial.begin("shadow", when_quiet="go_on")
    trial.answer(50)
    trial.ingest()
    trial.store.ledger.engine.dispose()
    trial.driver.store.close()
    away = trial.home / "away.db"
    (trial.home / "audit.db").rename(away)

    assert {"wait"} == {trial.after(59) for _ in range(2)}
    assert trial.after(2) == "withdraw"
    assert "no audit store" in trial.pointer.ended[-1].reason


def test_a_store_that_comes_back_in_time_is_believed_again(trial: Trial) -> None:
    trial.begin()
    trial.answer(50)
    assert trial.after(100) == "wait"
    trial.ingest()

    assert trial.after(1) == "go_on"


def test_a_broken_store_is_waited_for_too(trial: Trial) -> None:
    """The file is there, and is no database."""
    trial.begin()
    trial.ingest()
    assert trial.after(1) == "wait"
    for each in trial.home.glob("audit.db*"):
        each.write_bytes(b"no database at all" * 500)

    assert trial.after(FRESH_SECONDS + 1) == "wait"
    look = looks.read(trial.driver.mover.registry.root / MODEL, trial.rollout.rollout_id)
    assert look is not None
    assert "audit store" in look.evidence["unknown"]
    assert (START + timedelta(seconds=1)).isoformat() == look.evidence["known_until"]
    assert trial.after(120) == "withdraw"


def test_a_runner_that_has_just_come_gives_the_auditor_its_time(trial: Trial) -> None:
    trial.begin(when_quiet="go_on")
    trial.now += timedelta(hours=5)
    later = Horizon(trial.home / "journal", trial.now)
    object.__setattr__(trial.driver, "horizon", later)

    assert trial.after(119) == "wait"
    assert trial.after(1) == "withdraw"


def test_without_recording_no_trial_begins_and_none_goes_on(trial: Trial) -> None:
    trial.begin(when_quiet="go_on")
    trial.answer(50)
    trial.ingest()
    object.__setattr__(trial.driver.mover, "recorder", Recorder(None, b"key"))

    assert trial.after(119) == "wait"
    assert trial.after(1) == "withdraw"
    assert "recording = off" in trial.pointer.ended[-1].reason
    with pytest.raises(VersionConflictError, match="recording = off"):
        trial.begin()


@pytest.mark.parametrize(("phase", "step"), [("canary", "withdraw"), ("shadow", "wait")])
def test_an_alarm_of_its_own_withdraws_a_canary(trial: Trial, phase: str, step: str) -> None:
    trial.begin(phase)
    trial.alarm()
    trial.ingest()

    assert trial.after(1) == step


def test_an_alarm_is_ignored_where_the_plan_says_so_or_from_before(trial: Trial) -> None:
    trial.alarm()
    trial.ingest()
    trial.now += timedelta(seconds=1)
    trial.begin()
    assert trial.after(1) == "wait"
    trial.driver.mover.withdraw(MODEL, reason="again", actor="ann", now=trial.now)
    text = trial.plan.read_text()
    trial.plan.write_text(text.replace("withdraw_on_alarm = true", "withdraw_on_alarm = false"))
    trial.now = START
    trial.begin()
    assert trial.after(0) == "wait"


def test_a_changed_plan_withdraws(trial: Trial) -> None:
    trial.begin()
    trial.answer(50)
    trial.ingest()
    trial.plan.write_text(trial.plan.read_text() + "\n# another one\n")

    assert trial.after(1) == "withdraw"
    assert "plan has changed" in trial.pointer.ended[-1].reason


def test_each_phase_is_held_to_its_own_limits(trial: Trial) -> None:
    """More failures than a shadow may have are withdrawn in it; a canary's plan allows them."""
    text = trial.plan.read_text()
    shadow, canary = text.split("[canary]")
    trial.plan.write_text(f"{shadow}[canary]{canary.replace('errors = 0.02', 'errors = 1.0')}")
    trial.begin("canary")
    trial.answer(10, failure="boom")
    trial.ingest()
    assert trial.after(1) == "wait"
    trial.driver.mover.withdraw(MODEL, reason="again", actor="ann", now=trial.now)
    trial.begin("shadow")
    trial.answer(10, failure="boom")
    trial.ingest()

    assert trial.after(1) == "withdraw"


def test_differences_count_in_the_shadow_only(trial: Trial) -> None:
    trial.plan.write_text(trial.plan.read_text().replace("disagreement = 1.0", "disagreement = 0"))
    for phase, step in (("canary", "wait"), ("shadow", "withdraw")):
        rollout = trial.begin(phase)
        for number in range(20):
            trial.driver.mover.recorder.note([
                ComparisonRecord(
                    event_id=f"{phase}{number}", event_time=trial.now, phase=phase, agrees=False,
                    rollout_id=rollout.rollout_id, prediction_id=f"p{number}", model=MODEL,
                    version=2, champion=1,
                )
            ])  # fmt: skip
        trial.ingest()
        assert step == trial.after(1), phase
        if phase == "canary":
            trial.driver.mover.withdraw(MODEL, reason="again", actor="ann", now=trial.now)


def test_somebody_who_was_faster_is_no_failure(trial: Trial) -> None:
    rollout = trial.begin()
    trial.alarm()
    trial.ingest()
    trial.driver.mover.withdraw(MODEL, reason="mine", actor="ann", now=trial.now)

    assert trial.driver.drive(MODEL, rollout).step == "withdraw"
    assert trial.pointer.ended[-1].reason == "mine"


def test_a_look_that_cannot_be_shown_stops_nothing(trial: Trial) -> None:
    trial.begin()
    trial.alarm()
    trial.ingest()
    (trial.driver.mover.registry.root / MODEL / f".{looks.FILE}.partial").mkdir()

    assert trial.after(1) == "withdraw"
    assert trial.pointer.rollout is None


def test_a_known_fall_of_heatmaps_does_not_stop_a_shadow(trial: Trial) -> None:
    """The gate has weighed it against what the answers show; without its word it still stops."""

    def look(*, known: bool) -> str:
        trial.begin("shadow", heatmaps_fall=known)
        for number in range(20):
            trial.told += 1
            trial.driver.mover.recorder.note([
                ComparisonRecord(
                    event_id=f"c{trial.told}", event_time=trial.now,
                    rollout_id=trial.rollout.rollout_id, phase="shadow",
                    prediction_id=f"p{trial.told}", model=MODEL, version=2, champion=1,
                    milliseconds=1.0, champion_milliseconds=1.0, agrees=True,
                    measures={"activation_recall": 0.2 + number / 1000},
                    champion_measures={"activation_recall": 0.7},
                )
            ])  # fmt: skip
        trial.ingest()
        return trial.after(1)

    assert look(known=True) == "wait"
    trial.driver.mover.withdraw(MODEL, reason="again", actor="ann", now=trial.now)
    assert look(known=False) == "withdraw"
