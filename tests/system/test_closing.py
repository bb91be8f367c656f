"""The loop over REST alone: reviews become a training, alarms become one request."""

import json
from collections.abc import Iterator
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest

from services.pictures import png
from services.versions.references import FIELD
from tests import lamps, served
from tests.served import Server

pytestmark = [pytest.mark.system, pytest.mark.slow]
ALARMED = "lantern"
TOKEN = "the storm's"  # noqa: S105 - of this test's server
# Promised is a recall that no region in a far corner can have.
PROMISED = {"activation_recall": {label: [0.95, 0.02, 500] for label in ("bright", "dark")}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with auditor and runner, and two models whose training images have no regions."""
    home = tmp_path_factory.mktemp("closing")
    registry, _ = lamps.champion(
        home, marked=("test",), measures={FIELD: PROMISED}, names=(lamps.MODEL, ALARMED)
    )
    chosen = {
        "default_model": lamps.MODEL,
        "change_control": lamps.plan(home),
        "audit_seconds": 0.02,
        "probe_share": 0.0,
        "webhook_token": TOKEN,
    }
    with served.serve(home, registry, **chosen) as running, served.auditing(running):
        yield running


def predict(server: Server, model: str, number: int, *regions: bytes) -> dict[str, Any]:
    image = (server.settings.home / "set" / f"{number}.png").read_bytes()
    parts = [("image", image), *(("region", each) for each in regions)]
    reply = server.post_form(f"/v1/models/{model}/predictions", *parts)
    assert reply.status == 200, reply.body
    return reply.json()["predictions"][0]


def until_taken_in(server: Server, prediction_id: str) -> None:
    end = monotonic() + 100
    while server.ask("GET", f"/v1/predictions/{prediction_id}").status != 200:
        assert monotonic() < end
        sleep(0.05)


def ended(server: Server, name: str) -> dict[str, Any]:
    end = monotonic() + 300
    while (found := server.ask("GET", f"/v1/retrainings/{name}").json())["status"] in {
        "queued",
        "running",
    }:
        assert monotonic() < end, (found, (server.settings.home / "auditor.log").read_text())
        sleep(0.1)
    return found


def test_one_good_and_one_bad_review_become_a_gated_candidate(server: Server) -> None:
    good, bad = (predict(server, lamps.MODEL, number)["prediction_id"] for number in (0, 1))
    for name, verdict in ((good, "right-reason"), (bad, "wrong-reason")):
        until_taken_in(server, name)
        body = {"verdict": verdict, "actor": "ann"}
        assert server.post_json(f"/v1/predictions/{name}/reviews", body).status == 202
    wish = {"model": lamps.MODEL, "reason": "the answers follow the lamp", "actor": "ann"}
    accepted = server.post_json("/v1/retrainings", wish)
    found = ended(server, accepted.json()["retraining_id"])
    folder = server.settings.retrainings / found["retraining_id"]
    recipe = json.loads((folder / "recipe.json").read_text())

    assert (found["status"], found["verdict"]["passed"]) == ("promoted", True), found["outcome"]
    assert found["choice"]["objective"] == "exbl"
    assert (
        found["choice"]["reason"] == "no row has a region, but one review is good and one is bad"
    )
    assert (recipe["good"], recipe["bad"]) == (good, bad)
    assert recipe["weights"] == recipe["champion_weights"]  # a refinement of the champion
    made = server.registry.version(lamps.MODEL, found["candidate"]).card.fields
    assert made.lineage.recipe["objective"] == "exbl"
    assert made.lineage.parent == server.registry.version(lamps.MODEL, 1).ref.digest


def alert(number: int) -> dict[str, Any]:
    return {
        "status": "firing",
        "labels": {"alertname": "ReasonsDrift", "action": "retrain", "model": ALARMED},
        "annotations": {},
        "startsAt": f"2026-01-02T00:00:{number:02d}Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": f"{number:016x}",
    }


def storm(server: Server) -> None:
    """Thirty alerts, each delivered twice."""
    for number in range(30):
        for _ in range(2):
            body = json.dumps({"version": "4", "status": "firing", "alerts": [alert(number)]})
            reply = server.ask(
                "POST",
                "/v1/webhooks/alertmanager",
                body.encode(),
                content_type="application/json",
                authorization=f"Bearer {TOKEN}",
            )
            assert reply.status == 202, reply.body


def corner() -> bytes:
    """A region where nothing speaks."""
    pixels = np.zeros((28, 28, 3), np.uint8)
    pixels[:3, :3] = 255
    return png.compressed(pixels)


def test_a_live_alarm_asks_for_one_retraining_and_a_storm_for_no_other(server: Server) -> None:
    """Auditor, policy, runner: nobody asks; the alarm does."""
    region = corner()
    answers = [predict(server, ALARMED, number, region) for number in range(8)]
    until_taken_in(server, answers[-1]["prediction_id"])
    for number, each in enumerate(answers):  # before the alarm: the policy waits for nobody
        label = {"label": "bright" if number % 2 else "dark", "actor": f"person-{number}"}
        path = f"/v1/predictions/{each['prediction_id']}/label"
        body = json.dumps(label).encode()
        assert server.ask("PUT", path, body, content_type="application/json").status == 202
    for number in range(132):
        predict(server, ALARMED, number % 24, region)
    end = monotonic() + 200
    path = f"/v1/retrainings?model={ALARMED}"
    while not (asked := server.ask("GET", path).json()["items"]):
        assert monotonic() < end, server.ask("GET", f"/v1/alarms?model={ALARMED}").json()
        sleep(0.1)
    storm(server)
    found = ended(server, asked[0]["retraining_id"])
    storm(server)
    sleep(2.0)  # the runner looks several times a second

    assert [each["actor"] for each in asked] == ["policy"]
    assert "activation_recall" in found["reason"]
    assert found["status"] == "promoted", found["outcome"]
    assert found["choice"]["objective"] == "rrr"
    assert len(server.ask("GET", path).json()["items"]) == 1
    alarms = server.ask("GET", f"/v1/alarms?model={ALARMED}").json()["items"]
    answered = {each["state"] for each in alarms if each["measure"] == "activation_recall"}
    assert answered <= {"requested", "closed"}, alarms
