"""What the runner does between retrainings: takes requests up, and takes champions back."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from audit import change_control, records
from audit.errors import JournalUnavailableError
from services import clock
from services.commands import processes
from services.identifiers import identifier
from services.records.recording import Recorder
from services.records.stores import StoreReader
from services.retraining import runner
from services.retraining.rounds import Rounds
from services.retraining.rows import Request
from services.retraining.steps import Steps
from services.settings import Settings
from tests import graphs, stores
from tests.served import MODEL, registry_of_colours


class Kept:
    """A journal that keeps what is written to it."""

    def __init__(self) -> None:
        self.events: list[records.Entry] = []
        self.full = False

    def append(self, entries: list[bytes]) -> None:
        if self.full:
            raise JournalUnavailableError("no room")
        self.events += [records.from_bytes(each) for each in entries]

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class Place:
    steps: Steps
    store: stores.Store
    journal: Kept
    rounds: Rounds

    def look(self, what: Callable[[Rounds], object]) -> None:
        try:
            what(self.rounds)
        finally:
            self.rounds.reader.close()

    def promoted(self, version: int, *, ago: timedelta = timedelta()) -> str:
        """A retraining that has made this version the champion."""
        now = clock.now() - ago
        name = identifier(now)
        request = Request(MODEL, "auto", "an alarm", "ann")
        self.steps.rows.add(name, request, key=None, now=now)
        self.steps.rows.move(
            name,
            expected=("queued",),
            status="promoted",
            facts={"candidate": version},
            now=now,
        )
        self.steps.registry.promote(MODEL, version, reason="it", actor="retraining", now=now)
        return name

    def known(self) -> None:
        """Let everything that is written be ingested: nothing is."""
        self.steps.chosen.journal.mkdir(exist_ok=True)

    def alarm(self, version: int, measure: str, *, ago: timedelta = timedelta()) -> None:
        now = clock.now() - ago
        self.store.add(
            records.AlarmEvent(
                event_id=identifier(now),
                event_time=now,
                alarm_id=f"alarm-{measure}-{version}",
                model=MODEL,
                version=version,
                measure=measure,
                class_label="7",
                side="low",
                source="client",
                state="alarm",
                evidence={"observations": 70.0, "value": 3.0, "threshold": 2.0},
                actor="auditor",
            )
        )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    registry = registry_of_colours(tmp_path, 10.0, 5.0)
    chosen = Settings(home=tmp_path, registry=registry.root, recording="off")
    steps, journal = runner.connect_steps(chosen), Kept()
    object.__setattr__(steps, "recorder", Recorder(journal, b"key"))
    store = stores.make(chosen.store, tmp_path)
    yield Place(steps, store, journal, Rounds(steps, StoreReader(store.url)))
    store.ledger.engine.dispose()
    steps.rows.engine.dispose()


def test_an_alarm_on_a_new_champion_takes_it_back_once(place: Place) -> None:
    name = place.promoted(2)
    place.look(Rounds.watch)
    assert place.steps.registry.pointer(MODEL).version == 2

    place.alarm(2, "activation_recall")
    place.look(Rounds.watch)
    assert place.steps.registry.pointer(MODEL).version == 1
    assert place.steps.rows.get(name).facts["rolled_back"] == "alarm-activation_recall-2"
    assert place.steps.rows.get(name).status == "rolled_back"
    told = [(each.action, each.details["version"]) for each in place.journal.events]
    assert told == [("promotion", "2"), ("rollback", "1")]

    now = clock.now()
    place.steps.registry.promote(MODEL, 2, reason="still", actor="ann", now=now)
    place.look(Rounds.watch)
    assert place.steps.registry.pointer(MODEL).version == 2  # a person's word is the last


def test_the_watch_lasts_until_everything_within_it_is_known(place: Place) -> None:
    """The store was away while the champion went wrong, and came back long after the watch."""
    name = place.promoted(2, ago=timedelta(hours=5))
    place.look(Rounds.watch)
    assert "watched" not in place.steps.rows.get(name).facts
    place.alarm(2, "activation_recall", ago=timedelta(hours=4, minutes=30))
    place.look(Rounds.watch)

    assert place.steps.registry.pointer(MODEL).version == 1
    assert place.steps.rows.get(name).status == "rolled_back"


def test_the_watch_ends_when_it_is_over_and_known(place: Place) -> None:
    place.known()
    over = place.promoted(2, ago=timedelta(minutes=61))
    changed = place.steps.rows.get(over).changed_at
    place.look(Rounds.watch)
    found = place.steps.rows.get(over)
    assert ("promoted", changed) == (found.status, found.changed_at)
    assert found.facts["watched"]

    place.alarm(2, "activation_recall", ago=timedelta(minutes=30))
    place.look(Rounds.watch)
    assert place.steps.registry.pointer(MODEL).version == 2


def test_an_alarm_from_after_the_watch_moves_nothing(place: Place) -> None:
    place.promoted(2, ago=timedelta(minutes=61))
    place.alarm(2, "activation_recall")
    place.look(Rounds.watch)

    assert place.steps.registry.pointer(MODEL).version == 2


@pytest.mark.parametrize(("version", "measure"), [(2, "strangeness"), (1, "activation_recall")])
def test_alarms_that_only_inform_or_are_of_another_version_move_nothing(
    place: Place, version: int, measure: str
) -> None:
    place.promoted(2)
    place.alarm(version, measure)
    place.look(Rounds.watch)

    assert place.steps.registry.pointer(MODEL).version == 2


def test_open_requests_become_one_retraining_and_are_told_so(place: Place) -> None:
    now = clock.now()
    asked = [
        records.RequestEvent(
            event_id=identifier(now + timedelta(seconds=number)),
            event_time=now,
            request_id=f"request-{number}",
            model=model,
            origin="policy",
            actor="policy",
            reason="alarms",
        )
        for number, model in enumerate((MODEL, MODEL, "absent"))
    ]
    place.store.add(*asked)
    for _ in range(3):
        place.look(Rounds.take_requests)
    made = place.steps.rows.page()
    told = {each.details["request_id"]: each.details["status"] for each in place.journal.events}

    assert [(each.key, each.request.origin) for each in made] == [("request-0", "policy")]
    assert told["request-0"] == "queued"
    assert told["request-2"] == "rejected"
    assert "request-1" not in told


def test_a_request_that_a_person_made_over_rest_is_not_made_again(place: Place) -> None:
    name, now = place.promoted(2), clock.now()
    place.store.add(
        records.RequestEvent(
            event_id=identifier(now),
            event_time=now,
            request_id=name,
            model=MODEL,
            origin="person",
            actor="ann",
            reason="an alarm",
        )
    )
    place.look(Rounds.take_requests)

    assert [each.retraining_id for each in place.steps.rows.page()] == [name]
    assert place.journal.events == []


def test_what_happened_to_a_pointer_is_told_once_whoever_moved_it(place: Place) -> None:
    """A promotion whose process died before it could write it down."""
    place.look(Rounds.look_after)
    place.steps.registry.promote(MODEL, 2, reason="by hand", actor="ann", now=clock.now())
    for _ in range(3):
        place.look(Rounds.look_after)
    told = {each.event_id: each.details["version"] for each in place.journal.events}

    assert list(told.values()) == ["1", "2"]


def test_a_candidate_whose_retraining_has_ended_is_withdrawn(place: Place) -> None:
    name = place.promoted(2)
    place.steps.registry.rollback(MODEL, reason="it", actor="ann", now=clock.now())
    place.steps.mover.begin(
        MODEL, 2, rollout_id=name, phase="canary", share=0.5, reason="it", actor="test",
        now=clock.now(), owner=name,
    )  # fmt: skip
    place.look(Rounds.look_after)
    end = place.steps.registry.pointer(MODEL).ended[-1]

    assert (end.outcome, place.steps.registry.pointer(MODEL).rollout) == ("withdrawn", None)
    assert "has ended" in end.reason


def test_a_canary_is_withdrawn_where_the_plan_changes_or_its_alarm_rises(place: Place) -> None:
    def begin() -> None:
        now = clock.now()
        place.steps.mover.begin(
            MODEL, 2, rollout_id=identifier(now), phase="canary", share=0.5, reason="it",
            actor="test", now=now,
        )  # fmt: skip

    begin()
    place.look(Rounds.look_after)
    assert place.steps.registry.pointer(MODEL).rollout is not None
    place.alarm(2, "activation_recall")
    place.look(Rounds.look_after)
    assert "alarm-activation_recall-2" in place.steps.registry.pointer(MODEL).ended[-1].reason

    own = place.steps.chosen.home / "plan.toml"
    own.write_text(change_control.DEFAULT.read_text())
    changed = place.steps.chosen.model_copy(update={"change_control": own})
    object.__setattr__(place.steps, "chosen", changed)
    begin()
    own.write_text(change_control.DEFAULT.read_text() + "\n# another one\n")
    place.look(Rounds.look_after)
    assert "plan has changed" in place.steps.registry.pointer(MODEL).ended[-1].reason
    place.steps.store.close()


def test_a_corrupt_pointer_stops_its_own_model_only(place: Place, caplog) -> None:
    """The one whose name comes first is damaged; the other's candidate and champion go back."""
    registry, now = place.steps.registry, clock.now()
    registry.add("aaa", graphs.write_version(place.steps.chosen.home / "aaa"), now=now)
    (registry.root / "aaa" / "champion.json").write_text("not a pointer")
    own = place.steps.chosen.home / "plan.toml"
    own.write_text(change_control.DEFAULT.read_text())
    changed = place.steps.chosen.model_copy(update={"change_control": own})
    object.__setattr__(place.steps, "chosen", changed)
    place.steps.mover.begin(
        MODEL, 2, rollout_id=identifier(now), phase="canary", share=0.5, reason="it",
        actor="test", now=now,
    )  # fmt: skip
    own.write_text(change_control.DEFAULT.read_text() + "\n# another one\n")
    for _ in range(3):
        place.look(Rounds.turn)
    assert "plan has changed" in registry.pointer(MODEL).ended[-1].reason

    name = place.promoted(2)
    place.alarm(2, "activation_recall")
    place.look(Rounds.turn)
    assert registry.pointer(MODEL).version == 1
    assert place.steps.rows.get(name).status == "rolled_back"
    failing = place.rounds.alone.failing
    assert {"looking after the trial of aaa", "writing down what happened to aaa"} == set(failing)
    said = [each for each in caplog.records if "champion.json" in each.message]
    assert len(said) == 2  # once each, not in every round


def test_a_retraining_whose_facts_are_broken_keeps_no_other_from_its_watch(place: Place) -> None:
    name = place.promoted(2)
    newer = identifier(clock.now() + timedelta(seconds=1))
    place.steps.rows.add(newer, Request(MODEL, "auto", "it", "ann"), key=None, now=clock.now())
    place.steps.rows.move(newer, expected=("queued",), status="promoted", now=clock.now())
    place.alarm(2, "activation_recall")
    place.look(Rounds.turn)

    assert place.steps.rows.get(name).status == "rolled_back"
    assert [f"watching the champion of {newer}"] == [*place.rounds.alone.failing]


def test_a_refused_request_keeps_no_other_waiting(place: Place) -> None:
    """The journal is full when the first one's refusal is to be written down."""
    now = clock.now()
    for number, model in enumerate(("absent", MODEL)):
        place.store.add(
            records.RequestEvent(
                event_id=identifier(now + timedelta(seconds=number)), event_time=now,
                request_id=f"request-{number}", model=model, origin="policy", actor="policy",
                reason="alarms",
            )
        )  # fmt: skip
    place.journal.full = True
    place.look(Rounds.turn)

    assert [each.key for each in place.steps.rows.page()] == ["request-1"]
    assert {"request request-0", "request request-1"} <= place.rounds.alone.failing.keys()
    place.journal.full = False
    place.look(Rounds.turn)
    assert {} == place.rounds.alone.failing


def test_the_runner_runs_beside_the_gateway_unless_told_otherwise() -> None:
    beside = [each[-1] for each in processes.companions(Settings())]
    alone = [each[-1] for each in processes.companions(Settings(runner=False))]

    assert beside == ["services.auditing.auditor", "services.retraining.runner"]
    assert alone == ["services.auditing.auditor"]


def test_the_runner_itself_does_not_load_torch() -> None:
    code = "import services.retraining.runner, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "False"
