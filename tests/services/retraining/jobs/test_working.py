"""A job is followed to its end: lost, stalled, late, unreachable, refused; and an end is one."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.retraining.jobs import progress, working
from services.retraining.jobs.launchers import JobSpec, Key, State, Status, UnreachableError
from services.retraining.jobs.stalling import Stall
from services.retraining.jobs.working import Work
from services.retraining.rows import Request, connect
from services.settings import Settings
from tests.served import MODEL, registry_of_colours

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class Scripted:
    """A launcher that says of each attempt what the script says; the last word stays."""

    root: Path
    script: dict[int, list[State]]
    submitted: list[int] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    silent: int = 0

    def folder(self, key: Key) -> Path:
        return self.root / key.retraining / f"attempt-{key.attempt}"

    def submit(self, key: Key, spec: JobSpec) -> None:  # noqa: ARG002 - the protocol
        if self.silent:
            self.silent -= 1
            raise UnreachableError("no answer")
        self.folder(key).mkdir(parents=True, exist_ok=True)
        self.submitted.append(key.attempt)

    def status(self, key: Key) -> Status:
        words = self.script[key.attempt]
        state = words.pop(0) if len(words) > 1 else words[0]
        return Status(state, 1 if state is State.FAILED else None)

    def cancel(self, key: Key) -> None:
        self.cancelled.append(key.attempt)
        if self.script[key.attempt] == [State.RUNNING]:
            self.script[key.attempt] = [State.CANCELLED]

    def logs(self, _key: Key, offset: int) -> tuple[bytes, int]:
        return b"", offset


@pytest.fixture
def work(tmp_path: Path, monkeypatch) -> Iterator[Work]:
    monkeypatch.setattr(working, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(working, "_SILENT_SECONDS", 0.05)
    registry = registry_of_colours(tmp_path)
    chosen = Settings(home=tmp_path, registry=registry.root, spare_bytes=0)
    rows = connect(chosen.retraining_store)
    rows.add("r1", Request(MODEL, "auto", "an alarm", "ann"), key=None, now=NOW)
    rows.move("r1", expected=("queued",), status="running", facts={"champion": 1}, now=NOW)
    for name in ("training", "validation", "locked"):
        path = chosen.retrainings / "r1" / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"rows")
    launcher = Scripted(chosen.retrainings, {})
    yield Work(chosen, rows, registry, launcher, lambda: NOW)
    rows.engine.dispose()


def scripted(work: Work, *attempts: list[State]) -> Scripted:
    launcher = work.launcher
    assert isinstance(launcher, Scripted)
    launcher.script = {number: list(words) for number, words in enumerate(attempts, start=1)}
    return launcher


def test_a_job_that_succeeds_goes_on(work: Work) -> None:
    launcher = scripted(work, [State.PENDING, State.RUNNING, State.SUCCEEDED])

    assert work.run("r1", "train") is None
    assert launcher.submitted == [1]
    assert work.rows.get("r1").attempt == 1


def test_a_lost_attempt_is_followed_by_the_next_and_the_third_is_the_last(work: Work) -> None:
    launcher = scripted(work, *[[State.LOST]] * 3)
    ended = work.run("r1", "train")

    assert launcher.submitted == [1, 2, 3]
    assert ended is not None
    assert (ended.status, ended.reason) == (
        "failed",
        "train, attempt 3: LOST, exit code None; see the logs",
    )


def test_a_training_that_does_not_move_is_ended_and_tried_again_as_the_settings_say(
    work: Work,
) -> None:
    launcher = scripted(work, [State.RUNNING], [State.RUNNING])
    chosen = work.chosen.model_copy(update={"stall_seconds": 0.05})
    ended = replace(work, chosen=chosen).run("r1", "train")

    assert (launcher.submitted, launcher.cancelled) == ([1, 2], [1, 1, 2])
    assert ended is not None
    assert ended.reason == (
        "train, attempt 2: no progress for 0.05 s (setting stall_seconds); see the logs"
    )


def test_an_export_reports_no_progress_and_cannot_stall(work: Work) -> None:
    launcher = scripted(work, [State.RUNNING] * 200 + [State.SUCCEEDED])
    chosen = work.chosen.model_copy(update={"stall_seconds": 0.05})

    assert replace(work, chosen=chosen).run("r1", "export") is None
    assert launcher.cancelled == []


def test_a_training_over_its_limit_names_the_setting(work: Work) -> None:
    scripted(work, [State.TIMEOUT])
    ended = work.run("r1", "train")

    assert ended is not None
    assert "TIMEOUT, it took longer than 21600 s (setting training_seconds)" in ended.reason


def test_a_cluster_that_does_not_answer_is_asked_again(work: Work) -> None:
    launcher = scripted(work, [State.UNREACHABLE, State.SUCCEEDED])
    launcher.silent = 3

    assert work.run("r1", "train") is None
    assert launcher.submitted == [1]


def test_one_who_cancels_does_not_wait_for_a_cluster_that_is_silent(work: Work) -> None:
    scripted(work, [State.UNREACHABLE])
    work.rows.cancel("r1", actor="bob", now=NOW)
    ended = work.run("r1", "train")

    assert ended is not None
    assert (ended.status, ended.reason) == ("cancelled", "cancelled by bob")


def test_what_does_not_fit_is_refused_before_it_starts_and_never_after(
    work: Work,
) -> None:
    launcher = scripted(work, [State.SUCCEEDED])
    chosen = work.chosen.model_copy(update={"spare_bytes": 10**18})
    crowded = replace(work, chosen=chosen)
    ended = crowded.run("r1", "train")

    assert ended is not None
    assert ended.status == "failed"
    assert ended.reason.startswith("not enough room to train: disk: about ")
    assert launcher.submitted == []
    launcher.folder(Key("r1", 1)).mkdir(parents=True)  # it runs already: a new runner looks
    assert crowded.run("r1", "train") is None


def test_progress_is_growth_and_waiting_is_no_stall(tmp_path: Path) -> None:
    now = [0.0]
    path = tmp_path / progress.FILE
    stall = Stall([path, tmp_path / progress.TEACHER], 10.0, lambda: now[0])

    now[0] = 11.0
    assert not stall.has_stalled(waiting=True)
    now[0] = 21.0
    assert not stall.has_stalled()
    path.write_text("epoch 1")
    now[0] = 22.0
    assert not stall.has_stalled()
    now[0] = 32.0
    assert not stall.has_stalled()
    now[0] = 32.1
    assert stall.has_stalled()
    assert not Stall([path], 0.0, lambda: now[0]).has_stalled()
