"""Candidates on trial under load, with two workers, the auditor and the runner."""

import itertools
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import pytest

from audit import change_control
from services import settings
from services.records.stores import StoreReader
from tests import served, shortcuts
from tests.served import MODEL, Server

pytestmark = [pytest.mark.system, pytest.mark.slow]

GOOD, SHORTCUT = 2, 3
PLACE = f"/v1/models/{MODEL}"
PATIENCE = 120.0


@dataclass
class Load:
    """Clients that ask with regions, each another image, and never stop."""

    server: Server
    answers: list[tuple[float, int, int, str]] = field(default_factory=list)

    @contextmanager
    def running(self, clients: int = 2) -> Iterator["Load"]:
        stop, numbers = threading.Event(), itertools.count()

        def ask() -> None:
            while not stop.wait(0.01):
                image = shortcuts.image("red", seed=next(numbers))
                reply = self.server.post_form(
                    "/predict", ("image", image), ("region", shortcuts.region())
                )
                found = reply.json() if reply.status == 200 else {}
                version = found.get("model", {}).get("version", 0)
                name = found.get("prediction_id", "")
                self.answers.append((monotonic(), reply.status, version, name))

        threads = [threading.Thread(target=ask) for _ in range(clients)]
        for each in threads:
            each.start()
        try:
            yield self
        finally:
            stop.set()
            for each in threads:
                each.join()

    def by(self, version: int) -> list[str]:
        return [name for _, _, found, name in self.answers if found == version]

    @property
    def failed(self) -> list[int]:
        return [status for _, status, _, _ in self.answers if status != 200]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("canary")
    registry = served.registry_of_colours(home, 40.0, 20.0)
    assert shortcuts.add_shortcut(registry, home).ref.version == SHORTCUT
    text = re.sub(r"(?m)^seconds = .*$", "seconds = 600.0", change_control.DEFAULT.read_text())
    text = re.sub(r"(?m)^latency_milliseconds = 50.0.*$", "latency_milliseconds = 5000.0", text)
    plan = home / "plan.toml"
    plan.write_text(
        text.replace("requests = 50 ", "requests = 20 ").replace(
            "0.2\nrequests = 50", "0.5\nrequests = 200"
        )
    )
    with (
        served.serve(home, registry, workers=2, change_control=plan, probe_share=0.0) as running,
        served.auditing(running),
    ):
        yield running


def status(server: Server) -> dict:
    return server.ask("GET", f"{PLACE}/rollout").json()


def until(holds: Callable[[], bool], what: Callable[[], object]) -> None:
    end = monotonic() + PATIENCE
    while not holds():
        assert monotonic() < end, what()
        sleep(0.1)


def actions(server: Server) -> list[tuple[str, str]]:
    """What the audit trail says was done, with the version that it was done to."""
    from audit import records  # noqa: PLC0415
    from audit.store import queries  # noqa: PLC0415

    reader = StoreReader(server.settings.store)
    try:
        with reader.require().connected() as connection:
            return [
                (each.action, each.details.get("version", ""))
                for _, each in queries.replay(connection)
                if isinstance(each, records.ActionEvent)
            ]
    finally:
        reader.close()


def test_a_shortcut_on_trial_is_withdrawn_by_its_own_alarm_and_nobody_notices(server) -> None:
    body = {"version": SHORTCUT, "phase": "canary", "share": 0.5, "reason": "it looked right"}
    with Load(server).running() as load:
        begun = server.post_json(f"{PLACE}/rollouts", body)
        assert begun.status == 202, begun.body
        until(lambda: status(server)["rollout"] is None, lambda: status(server))
        gone = monotonic()
        sleep(2.0)
        end = status(server)["ended"][0]
        late = {version for at, _, version, _ in load.answers if at > gone + 1.0}
    sys.stdout.write(
        f"{len(load.answers)} requests, {len(load.by(SHORTCUT))} by the canary, "
        f"{len(load.failed)} failed; {end['reason']}\n"
    )

    assert ("withdrawn", SHORTCUT) == (end["outcome"], end["rollout"]["version"])
    assert "activation_recall is too low" in end["reason"]
    assert [] == load.failed
    assert len(load.by(SHORTCUT)) < 200
    assert {1} == late
    until(lambda: ("withdrawal", "3") in actions(server), lambda: actions(server))
    until(
        lambda: not [each for each in alarms(server) if each["state"] != "closed"],
        lambda: alarms(server),
    )
    assert [] == server.ask("GET", "/v1/retrainings").json()["items"]


def alarms(server: Server) -> list[dict]:
    return server.ask("GET", f"/v1/alarms?model={MODEL}").json()["items"]


def test_a_good_version_goes_from_the_shadow_over_a_share_to_champion_and_back(server) -> None:
    """With the rollback measured from the command on, while requests go on."""
    body = {"version": GOOD, "reason": "a better one", "actor": "ann", "share": 0.9}
    with Load(server).running() as load:
        assert server.post_json(f"{PLACE}/rollouts", body).status == 202
        again = server.post_json(f"{PLACE}/rollouts", {**body, "version": SHORTCUT})
        until(lambda: status(server)["rollout"]["phase"] == "canary", lambda: status(server))
        until(lambda: len(load.by(GOOD)) > 3, lambda: Counter(each[2] for each in load.answers))
        tried = load.by(GOOD)[-1]
        look = status(server)["look"]
        until(lambda: status(server)["champion"] == GOOD, lambda: status(server))
        sleep(1.5)
        ready = lineage(server, tried)
        champion = load.by(GOOD)[-1]
        seconds: dict[str, tuple[float, float]] = {}
        seconds["REST"] = rolled_back(
            load, lambda: server.post_json(f"{PLACE}/rollbacks", {"reason": "a complaint"})
        )
        server.post_json(f"{PLACE}/promotions", {"version": GOOD, "reason": "after all"})
        sleep(1.5)
        seconds["command line"] = rolled_back(load, lambda: rollback_command(server))
    for way, (command, after) in seconds.items():
        sys.stdout.write(
            f"rollback by {way}: {command:.2f} s for the command, last answer by the version "
            f"{after:.2f} s after it\n"
        )

    assert 409 == again.status
    assert max(after for _, after in seconds.values()) < 20.0
    assert [] == load.failed
    assert look is None or look["evidence"]["failed"] == 0
    assert ("canary", "ann", "") == (
        ready["role"],
        ready["rollout"]["actor"],
        ready["rollout"]["approved_by"],
    )
    assert change_control.load(server.settings.change_control).digest == ready["rollout"]["plan"]
    now = lineage(server, champion)
    assert ("champion", GOOD) == (now["role"], now["promotion"]["version"])
    done = [("shadow", "2"), ("canary", "2"), ("promotion", "2"), ("rollback", "1")]
    until(lambda: set(done) <= set(actions(server)), lambda: actions(server))
    assert actions(server).count(("rollback", "1")) == 2


def lineage(server: Server, name: str) -> dict:
    reply = server.ask("GET", f"/v1/predictions/{name}/lineage")
    assert reply.status == 200, reply.body
    return reply.json()


def rolled_back(load: Load, command: Callable[[], object]) -> tuple[float, float]:
    """Seconds that the command took, and from its end to the last answer by what it took back."""
    began = monotonic()
    command()
    done = monotonic()
    until(
        lambda: sum(at > done and found == 1 for at, _, found, _ in load.answers) > 20,
        lambda: load.answers[-5:],
    )
    last = max(at for at, _, found, _ in load.answers if found == GOOD)
    return done - began, max(0.0, last - done)


def rollback_command(server: Server) -> None:
    environ = settings.serving_environment(server.settings) | {"PYTHONPATH": str(Path.cwd())}
    words = ["rollback", MODEL, "--reason", "by hand"]
    subprocess.run(
        [sys.executable, "-m", "services.commands.cli", *words], check=True, env=environ
    )
