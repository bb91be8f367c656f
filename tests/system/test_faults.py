"""Kill −9 of every part at every step: a retraining ends promoted or cleanly failed, once.

How many kills is set by RIGHTLY_TEST_KILLS; the default is what CI runs.
"""

import hashlib
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import Any

import httpx
import pytest

from models.registry import Registry
from services.settings import Settings
from tests import breaking, lamps
from tests.breaking import Part
from tests.served import free_port

pytestmark = [pytest.mark.system, pytest.mark.slow]
KILLS = int(os.environ.get("RIGHTLY_TEST_KILLS", "7"))
EPOCHS = 30
# Which parts there are to kill at each step; the trainer's death is an end, the others' are none.
PARTS: dict[str, tuple[Part, ...]] = {
    "queued": ("runner", "gateway", "auditor"),
    "collect": ("runner", "auditor", "gateway"),
    "train": ("shim", "runner", "gateway", "auditor"),
    "export": ("shim", "runner", "auditor"),
    "evaluate": ("runner", "gateway", "auditor"),
    "gate": ("runner", "auditor"),
    "approve": ("runner", "gateway"),
    "shadow": ("runner", "auditor"),
    "canary": ("runner", "gateway"),
    "promote": ("runner", "auditor", "gateway"),
}
STEPS = (*PARTS, "ended")
ENDED = {"promoted", "rolled_back", "rejected", "failed", "cancelled"}


@pytest.fixture
def chosen(tmp_path: Path) -> Settings:
    lamps.champion(tmp_path)
    return Settings(
        home=tmp_path,
        port=free_port(),
        audit_port=0,
        default_model=lamps.MODEL,
        change_control=lamps.plan(tmp_path, trial=lamps.TRIAL),
        device="cpu",
        threads=1,
    )


class Siege:
    """Retrainings of one installation, and what is killed meanwhile."""

    def __init__(self, chosen: Settings, client: httpx.Client) -> None:
        self.settings, self.client = chosen, client
        self.rng = random.Random(5)  # noqa: S311 - seeded
        self.killed: Counter[tuple[str, str]] = Counter()

    def ask(self, name: str) -> str:
        wish = {
            "model": lamps.MODEL,
            "reason": name,
            "actor": "test",
            "hyperparameters": {"epochs": EPOCHS},
        }
        key = {"Idempotency-Key": name}  # asked again where the worker died before its answer
        answer = breaking.asked(self.client, "POST", "/v1/retrainings", json=wish, headers=key)
        return str(answer.json()["retraining_id"])

    def found(self, name: str) -> dict[str, Any]:
        return breaking.asked(self.client, "GET", f"/v1/retrainings/{name}").json()

    def until(self, name: str, step: str) -> dict[str, Any]:
        while True:
            found = self.found(name)
            if found["status"] in ENDED or STEPS.index(found["step"]) >= STEPS.index(step):
                return found
            sleep(0.02)

    def strike(self, name: str, step: str, *parts: Part) -> None:
        """Kill one part a moment after a step has begun."""
        sleep(self.rng.uniform(0.0, 0.4))
        part = self.rng.choice(parts)
        if breaking.kill(self.settings, part, name):
            self.killed[step, part] += 1

    def besieged(self, name: str) -> dict[str, Any]:
        """Follow one retraining and kill something at every step."""
        for step in PARTS:
            found = self.until(name, step)
            if found["status"] in ENDED:
                break
            self.strike(name, found["step"], *PARTS[found["step"]])
        return self.until(name, "ended")


@pytest.fixture
def siege(chosen: Settings) -> Iterator[Siege]:
    with breaking.installation(chosen) as client:
        yield Siege(chosen, client)


def weights(chosen: Settings, name: str) -> set[str]:
    found = (chosen.retrainings / name).glob("attempt-*/weights.safetensors")
    return {hashlib.sha256(each.read_bytes()).hexdigest() for each in found}


def check_once(chosen: Settings, ended: dict[str, Any]) -> None:
    """Promoted: one version and one move of the pointer. Else: no move. Nothing is damaged."""
    name, registry = ended["retraining_id"], Registry(chosen.registry)
    versions = registry.versions(lamps.MODEL)
    for each in versions:
        registry.verify(each)
    made = [e for e in versions if e.card.fields.lineage.recipe.get("retraining") == name]
    moves = [each for each in registry.history(lamps.MODEL) if name in each.reason]
    if ended["status"] == "promoted":
        assert [each.ref.version for each in made] == [ended["candidate"]]
        assert [each.version for each in moves] == [ended["candidate"]]
    else:
        assert ended["outcome"]
        assert len(made) <= 1
        assert moves == []


def test_whatever_is_killed_a_retraining_ends_once_and_bit_equal(
    siege: Siege, chosen: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    first = siege.until(siege.ask("undisturbed"), "ended")
    assert first["status"] == "promoted", first["outcome"]
    wanted = weights(chosen, first["retraining_id"])
    check_once(chosen, first)
    ends: Counter[str] = Counter()
    while siege.killed.total() < KILLS:
        ended = siege.besieged(siege.ask(f"siege {ends.total()}"))
        ends[ended["status"]] += 1
        check_once(chosen, ended)
        assert ended["status"] == "promoted", ended["outcome"]
        assert weights(chosen, ended["retraining_id"]) == wanted

    name = siege.ask("the trainer dies")
    siege.until(name, "train")
    while not breaking.kill(chosen, "trainer", name):
        sleep(0.02)
    dead = siege.until(name, "ended")
    ends[dead["status"]] += 1
    siege.killed["train", "trainer"] += 1
    assert (dead["status"], "exit code -9" in dead["outcome"]) == ("failed", True), dead["outcome"]
    check_once(chosen, dead)
    with capsys.disabled():
        by = ", ".join(f"{part} at {step} {n}" for (step, part), n in sorted(siege.killed.items()))
        sys.stdout.write(f"\n{siege.killed.total()} kills ({by}): {json.dumps(ends)}\n")
