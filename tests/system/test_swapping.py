"""The champion moves under load: nobody notices but by the version in the answer."""

import sys
import threading
from collections import Counter

import pytest

from services import clock
from services.pictures.png import compressed
from tests import graphs, served
from tests.served import MODEL

pytestmark = [pytest.mark.system, pytest.mark.slow]

REQUESTS, SWAPS, CLIENTS = 2000, 20, 4
GAINS = (40.0, 20.0)
RED = compressed(graphs.patch("red"))


def test_swaps_under_load_fail_no_request(tmp_path) -> None:
    """Each answer names its version, and its numbers are that version's."""
    registry = served.registry_of_colours(tmp_path, *GAINS)
    with served.serve(tmp_path, registry, poll_seconds=0.02, recording="async") as server:
        expected = {}
        for version in (2, 1):
            promote(server, version)
            answer = server.post_form("/predict", ("image", RED)).json()
            expected[version] = answer["classes"]
            assert version == answer["model"]["version"]
        answers, stop = [], threading.Event()

        def client() -> None:
            while not stop.is_set():
                reply = server.post_form("/predict", ("image", RED))
                answers.append((reply.status, reply.body))

        clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for each in clients:
            each.start()
        swaps = 0
        while len(answers) < REQUESTS or swaps < SWAPS:
            registry.promote(
                MODEL, 2 - swaps % 2, reason="under load", actor="test", now=clock.now()
            ) if swaps % 2 else promote(server, 2)
            swaps += 1
            stop.wait(0.2)
        stop.set()
        for each in clients:
            each.join()
        statuses = Counter(status for status, _ in answers)
        found = [served.Reply(status, {}, body).json() for status, body in answers]
        versions = Counter(each["model"]["version"] for each in found)
        counted = f"{len(answers)} requests, {swaps} swaps, {dict(statuses)}, {dict(versions)}"
        sys.stdout.write(counted + "\n")

        assert {200: len(answers)} == statuses
        assert min(versions.values()) > REQUESTS / 20
        assert [] == [
            each["prediction_id"]
            for each in found
            if each["classes"] != expected[each["model"]["version"]]
        ]
        assert len({each["prediction_id"] for each in found}) == len(found)


def test_every_worker_follows_and_a_broken_version_changes_nothing(tmp_path) -> None:
    registry = served.registry_of_colours(tmp_path, *GAINS)
    with served.serve(tmp_path, registry, poll_seconds=0.02, workers=2) as server:
        promote(server, 2)
        threading.Event().wait(1.0)
        followed = {version_of(server) for _ in range(30)}
        graph = registry.version(MODEL, 1).folder / "predict.onnx"
        graph.chmod(0o644)
        graph.write_bytes(b"broken on disk")
        refused = server.post_json(
            f"/v1/models/{MODEL}/promotions", {"version": 1, "reason": "a test"}
        )
        threading.Event().wait(0.5)
        after = {version_of(server) for _ in range(30)}

    assert {2} == followed == after
    assert refused.status == 409
    assert "has changed" in refused.json()["detail"]


def test_promotions_and_rollbacks_are_kept_with_their_reasons(tmp_path) -> None:
    registry = served.registry_of_colours(tmp_path, *GAINS)
    place = f"/v1/models/{MODEL}"
    with served.serve(tmp_path, registry, recording="off") as server:
        conflict = server.post_json(
            f"{place}/promotions", {"version": 2, "reason": "r", "expected": 2}
        )
        promoted = server.post_json(
            f"{place}/promotions", {"version": 2, "reason": "better", "actor": "ada"}
        )
        now = version_of(server)
        back = server.post_json(f"{place}/rollbacks", {"reason": "worse after all"})
        then = version_of(server)
        nowhere = server.post_json(f"{place}/rollbacks", {"reason": "further"})
        history = server.ask("GET", place).json()["history"]

    assert (409, 200, 200, 409) == (
        conflict.status,
        promoted.status,
        back.status,
        nowhere.status,
    )
    assert (2, 1) == (now, then)
    assert [
        ("rollback", "worse after all"),
        ("promote", "better"),
        ("promote", "the first one"),
    ] == [(each["action"], each["reason"]) for each in history]


def promote(server, version) -> None:
    reply = server.post_json(
        f"/v1/models/{MODEL}/promotions", {"version": version, "reason": "a test"}
    )
    assert reply.status == 200, reply.body


def version_of(server) -> int:
    return server.post_form("/predict", ("image", RED)).json()["model"]["version"]
