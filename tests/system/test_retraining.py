"""A real runner with real trainings: promoted, refused, approved, cancelled, killed everywhere."""

import hashlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.auditing import auditor
from services.retraining.jobs import shim
from services.retraining.rows import Approval
from services.settings import Settings
from tests.lamps import MODEL, NOW, TRIAL, Loop, champion, plan

pytestmark = [pytest.mark.system, pytest.mark.slow]

STEPS = (
    *("queued", "collect", "train", "export", "evaluate", "gate"),
    *("approve", "shadow", "canary", "promote", "ended"),
)


EPOCHS = 40


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    champion(home)
    return home


@pytest.fixture
def loop(trained: Path) -> Iterator[Loop]:
    found = Loop(Settings(home=trained, change_control=plan(trained), audit_port=0))
    yield found
    found.kill()


@pytest.fixture
def audited(loop: Loop) -> Iterator[None]:
    """An auditor, without which nothing would be known about a candidate on trial."""
    stop = threading.Event()
    thread = threading.Thread(target=auditor.run, args=(loop.settings, stop))
    thread.start()
    yield
    stop.set()
    thread.join()


def weights(loop: Loop, name: str) -> str:
    attempt = loop.rows.get(name).attempt
    path = loop.settings.retrainings / name / f"attempt-{attempt}" / "weights.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def moves(loop: Loop) -> list[str]:
    pointer = loop.settings.registry / MODEL / "champion.json"
    return [each["reason"] for each in json.loads(pointer.read_text())["history"]]


def tried(loop: Loop) -> list[tuple[str, str]]:
    pointer = json.loads((loop.settings.registry / MODEL / "champion.json").read_text())
    assert pointer["rollout"] is None
    return [(each["rollout"]["rollout_id"], each["outcome"]) for each in pointer["ended"]]


def pids(loop: Loop, name: str, attempt: int) -> dict[str, int]:
    path = loop.settings.retrainings / name / f"attempt-{attempt}" / shim.STARTED
    loop.until(name, lambda _: path.exists())
    return json.loads(path.read_text())


def checkpoint(loop: Loop, name: str) -> Path:
    return loop.settings.retrainings / name / "attempt-1" / "checkpoint" / "training.json"


@pytest.mark.usefixtures("audited")
def test_killed_at_every_step_it_is_promoted_once_and_resumes_bit_by_bit(loop: Loop) -> None:
    """First the runner dies at each step; then the shim in mid-training; the weights are equal."""
    plan(loop.settings.home, trial=TRIAL)
    loop.ask("r1", epochs=EPOCHS)
    loop.start()
    for number in range(1, len(STEPS) - 1):
        loop.until("r1", lambda found, least=number: STEPS.index(found.step) >= least)
        loop.kill()
        loop.start()
    first = loop.ended("r1")

    assert first.status == "promoted", first.reason
    assert [each for each in moves(loop) if "r1" in each] == ["retraining r1: a test"]
    assert set(first.facts["trial"]) == {"shadow", "canary"}
    assert tried(loop) == [("r1", "promoted")]
    plan(loop.settings.home)

    loop.ask("r2", epochs=EPOCHS)
    started = pids(loop, "r2", 1)
    loop.until("r2", lambda _: checkpoint(loop, "r2").exists())
    os.kill(started["shim"], signal.SIGKILL)
    second = loop.ended("r2")

    assert (second.status, second.attempt) == ("promoted", 2), second.reason
    log = (loop.settings.retrainings / "r2" / "attempt-2" / shim.LOG).read_text()
    assert "going on from the checkpoint of attempt 1" in log
    assert weights(loop, "r1") == weights(loop, "r2")


def test_a_killed_trainer_fails_cleanly_and_a_cancelled_one_ends_soon(loop: Loop) -> None:
    before = moves(loop)
    loop.ask("r3", epochs=2000)
    loop.start()
    os.kill(pids(loop, "r3", 1)["child"], signal.SIGKILL)
    failed = loop.ended("r3")

    assert failed.status == "failed"
    assert "train, attempt 1: FAILED, exit code -9" in failed.reason

    loop.ask("r4", epochs=2000)
    pids(loop, "r4", 1)
    loop.rows.cancel("r4", actor="ann", now=NOW)
    cancelled = loop.until("r4", lambda found: found.ended, seconds=15)

    assert (cancelled.status, cancelled.reason) == ("cancelled", "cancelled by ann")
    assert moves(loop) == before


def test_a_strict_gate_refuses_and_a_person_has_the_last_word(loop: Loop, trained: Path) -> None:
    before = moves(loop)
    plan(trained, latency_milliseconds=1e-6)
    loop.start()
    loop.ask("r5", epochs=1)
    refused = loop.ended("r5")

    assert refused.status == "rejected"
    assert "the gate refused: latency" in refused.reason
    assert refused.facts["verdict"]["passed"] is False

    plan(trained, by="one")
    loop.ask("r6", epochs=1)
    loop.until("r6", lambda found: found.status == "awaiting_approval")
    loop.rows.approve("r6", Approval("ann", approved=False, reason="not now", at=NOW))

    assert loop.ended("r6").reason == "ann refused: not now"
    assert moves(loop) == before
