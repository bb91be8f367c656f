"""Retrainings over REST, without a runner: the routes only write and read the record."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services import wiring
from services.retraining import rows
from services.retraining.jobs import shim
from services.retraining.jobs.launchers import Key, LocalLauncher
from services.settings import Settings
from services.web import rest
from tests.served import MODEL, registry_of_colours

PATH = "/v1/retrainings"
WISH = {"model": MODEL, "reason": "an alarm", "actor": "ann"}


class Client:
    """Asks the application in this process."""

    def __init__(self, serving: wiring.Serving) -> None:
        self.serving, self.application = serving, rest.create()
        rest.connect(self.application, serving)

    def ask(self, method: str, path: str, **options: object) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self.application)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await client.request(method, path, **options)

        return asyncio.run(asked())

    def made(self) -> str:
        return self.ask("POST", PATH, json=WISH).json()["retraining_id"]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    registry = registry_of_colours(tmp_path)
    chosen = Settings(home=tmp_path, registry=registry.root, device="cpu", default_model=MODEL)
    serving = wiring.connect(chosen)
    yield Client(serving)
    serving.pool.close()
    serving.recorder.close()
    serving.retrainings.engine.dispose()


def test_a_retraining_is_accepted_listed_and_shown(client: Client) -> None:
    accepted = client.ask("POST", PATH, json=WISH)
    name = accepted.json()["retraining_id"]
    shown = client.ask("GET", f"{PATH}/{name}").json()

    assert (accepted.status_code, accepted.json()["status"]) == (202, "queued")
    assert (shown["model"], shown["objective"], shown["status"]) == (MODEL, "auto", "queued")
    assert [each["what"] for each in shown["events"]] == ["asked for by ann"]
    assert [e["retraining_id"] for e in client.ask("GET", PATH).json()["items"]] == [name]
    assert client.ask("GET", f"{PATH}?model=lamp").json() == {"items": [], "next": None}


def test_a_storm_of_requests_makes_one(client: Client) -> None:
    headers = {"Idempotency-Key": "monday"}
    names = {
        client.ask("POST", PATH, json=WISH, headers=headers).json()["retraining_id"]
        for _ in range(5)
    }
    other = client.ask("POST", PATH, json=WISH)
    changed = client.ask("POST", PATH, json=WISH | {"objective": "rrr"}, headers=headers)

    assert len(names) == 1
    assert other.status_code == 409
    assert "is being retrained already" in other.json()["detail"]
    assert changed.status_code == 409
    assert "used for another request" in changed.json()["detail"]


@pytest.mark.parametrize(
    ("wish", "status", "said"),
    [
        ({"model": "absent"}, 404, "no model 'absent'"),
        ({"objective": "isnet"}, 409, "may_change.objective"),
        ({"hyperparameters": {"device": 1}}, 422, "hyperparameters"),
        ({"hyperparameters": {"epochs": "NaN"}}, 422, "epochs"),
        ({"reason": ""}, 422, "reason"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(
    client: Client, wish: dict, status: int, said: str
) -> None:
    answer = client.ask("POST", PATH, json=WISH | wish)

    assert answer.status_code == status
    assert said in answer.text


def test_one_that_waits_is_cancelled_and_unknown_ones_are_not_found(client: Client) -> None:
    name = client.made()
    answer = client.ask("DELETE", f"{PATH}/{name}?actor=bob")

    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    assert answer.json()["outcome"] == "cancelled by bob"
    unknown = f"{PATH}/{'0' * 26}"
    statuses = {client.ask(verb, unknown).status_code for verb in ("GET", "DELETE")}
    assert statuses | {client.ask("GET", f"{unknown}/logs").status_code} == {404}


def test_only_a_candidate_that_waits_is_approved(client: Client) -> None:
    name, said = client.made(), {"actor": "ann", "reason": "looks right"}
    early = client.ask("POST", f"{PATH}/{name}/approvals", json=said)
    rows = client.serving.retrainings
    rows.move(
        name, expected=("queued",), status="awaiting_approval", now=rows.get(name).created_at
    )
    answer = client.ask("POST", f"{PATH}/{name}/approvals", json=said)

    assert early.status_code == 409
    assert answer.status_code == 200
    assert rows.approvals(name)[0].actor == "ann"


def test_progress_and_logs_are_read_off_the_attempt(client: Client) -> None:
    name = client.made()
    rows = client.serving.retrainings
    rows.move(
        name,
        expected=("queued",),
        status="running",
        step="train",
        attempt=1,
        now=rows.get(name).created_at,
    )
    folder = LocalLauncher(client.serving.settings.retrainings).folder(Key(name, 1))
    folder.mkdir(parents=True)
    (folder / "progress.jsonl").write_text('{"epoch": 1, "epochs": 4}\n{"epoch": 2, "epo')
    (folder / shim.LOG).write_text("epoch 1 of 4\n")
    streamed = client.ask("GET", f"{PATH}/{name}/logs")
    events = [each.split("\n") for each in streamed.text.strip().split("\n\n")]

    assert client.ask("GET", f"{PATH}/{name}").json()["progress"] == {"epoch": 1, "epochs": 4}
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert [each[0] for each in events] == ["event: log", "event: end"]
    assert json.loads(events[0][1].removeprefix("data: "))["line"] == "epoch 1 of 4"


def test_a_locked_record_is_answered_503_and_when_to_come_back(
    client: Client, monkeypatch
) -> None:
    """Another process holds the database for longer than anybody waits for it."""
    monkeypatch.setattr(rows, "_BUSY_MILLISECONDS", 50)
    client.serving.retrainings.engine.dispose()  # connections made from now on wait that long
    name = client.serving.settings.home / "retrainings.db"
    other = sqlite3.connect(name, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    answers = [client.ask("POST", PATH, json=WISH), client.ask("GET", PATH)]
    other.execute("ROLLBACK")
    other.close()

    for answer in answers:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.headers["content-type"] == "application/problem+json"
        assert "busy" in answer.json()["detail"]
        assert "sqlite" not in answer.text.lower()
    assert client.ask("POST", PATH, json=WISH).status_code == 202
