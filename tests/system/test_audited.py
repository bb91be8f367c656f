"""A real server with an auditor beside it: from an answer over HTTP to its alarm and gauge."""

import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audit.store import connections, verification
from audit.store.anchors import AnchorFolder
from models.cards import CardFields
from models.registry import Registry
from services import clock, secret, settings
from services.pictures import png
from services.versions.references import FIELD
from tests import graphs, served

pytestmark = pytest.mark.system
# The tiny classifier looks at the patch; where the region lies decides its activation recall.
REFERENCE = {"activation_recall": {"red": [0.8, 0.1, 500]}}


def registry_with_reference(root: Path) -> Registry:
    registry = Registry(root / "registry")
    files = graphs.write_version(root / "made")
    fields = CardFields(measures={FIELD: REFERENCE})
    registry.add(served.MODEL, files, fields, now=clock.now())
    registry.promote(served.MODEL, 1, reason="the first one", actor="test", now=clock.now())
    return registry


@contextmanager
def auditor_of(server: served.Server, log: Path) -> Iterator[subprocess.Popen]:
    environment = settings.serving_environment(server.settings) | {"PYTHONPATH": str(Path.cwd())}
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.auditing.auditor"],
            env=environment,
            stdout=sink,
            stderr=sink,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def until(question: Callable[[], Any], seconds: float = 40.0) -> Any:  # noqa: ANN401 - the answer
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := question():
            return found
        time.sleep(0.1)
    raise TimeoutError


def predict(server: served.Server, corner: int) -> dict[str, Any]:
    region = np.zeros((graphs.SIDE, graphs.SIDE, 3), np.uint8)
    region[corner : corner + 4, corner : corner + 4] = 255
    reply = server.post_form(
        f"/v1/models/{served.MODEL}/predictions",
        ("image", png.compressed(graphs.patch("red"))),
        ("region", png.compressed(region)),
    )
    assert reply.status == 200, reply.body
    return reply.json()["predictions"][0]


def test_from_an_answer_to_its_alarm(tmp_path: Path) -> None:
    registry = registry_with_reference(tmp_path)
    chosen = {"audit_seconds": 0.02, "probe_share": 1.0}
    with (
        served.serve(tmp_path, registry, **chosen) as server,
        auditor_of(server, tmp_path / "auditor.log"),
    ):
        for _ in range(5):
            predict(server, 0)
        summary = until(
            lambda: (
                server.ask("GET", f"/v1/models/{served.MODEL}/audit").status == 200
                and server.ask("GET", f"/v1/models/{served.MODEL}/audit").json()["measures"]
            )
        )
        recall = next(each for each in summary if each["measure"] == "activation_recall")
        assert recall["estimate"]["value"] > 0.9
        assert server.ask("GET", "/v1/alarms").json()["items"] == []

        last = [predict(server, 12) for _ in range(40)][-1]  # the region is where nothing speaks
        alarms = until(
            lambda: server.ask("GET", "/v1/alarms?state=alarm&state=requested").json()["items"]
        )
        assert ("activation_recall", "low", "red") in {
            (each["measure"], each["side"], each["class"]) for each in alarms
        }
        with urllib.request.urlopen(
            f"http://127.0.0.1:{server.settings.audit_port}/metrics"
        ) as answer:
            gauges = answer.read().decode()
        assert 'audit_drift_state{class="red",measure="activation_recall"' in gauges
        found = server.ask("GET", f"/v1/predictions/{last['prediction_id']}")
        assert found.json()["audit"] == last["audit"]

    reader = connections.open_reader(server.settings.store)
    key = secret.secret_key(server.settings.chain_key)
    anchors = AnchorFolder(server.settings.anchors).read()
    checked = verification.verify(reader, key=key, anchors=anchors)
    reader.dispose()
    assert checked.intact
    assert checked.events >= 45
