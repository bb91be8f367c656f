"""The audit over HTTP: tell the truth later, look at measures and alarms, ask once."""

import asyncio
import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from PIL import Image

from audit import records
from audit.store import connections, tables
from audit.store.ledger import Ledger
from audit.watch.healthy import HEALTHY
from services import clock, secret, wiring
from services.auditing import auditor
from services.auditing.ingestion import Ingestion
from services.identifiers import identifier
from services.records import recording
from services.settings import Settings
from services.web import rest
from tests import graphs
from tests.entries import START, prediction, region
from tests.served import MODEL, registry_of_colours

TOKEN = "s3cret"  # noqa: S105 - of a test


class Client:
    """Calls the application without a server."""

    def __init__(self, application: FastAPI) -> None:
        self._application = application

    def request(self, verb: str, path: str, **arguments: object) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(self._application)
            async with httpx.AsyncClient(transport=transport, base_url="http://rightly") as client:
                return await client.request(verb, path, **arguments)

        return asyncio.run(call())

    def get(self, path: str, **arguments: object) -> httpx.Response:
        return self.request("GET", path, **arguments)

    def put(self, path: str, **arguments: object) -> httpx.Response:
        return self.request("PUT", path, **arguments)

    def post(self, path: str, **arguments: object) -> httpx.Response:
        return self.request("POST", path, **arguments)


@dataclass
class Running:
    client: Client
    audit: Ingestion
    serving: wiring.Serving

    def drain(self) -> None:
        while self.audit.step(now=clock.now()):
            pass

    def rows(self, table: sa.Table) -> list[sa.Row]:
        with self.audit.ledger.engine.begin() as connection:
            return list(connection.execute(sa.select(table)).all())

    def predict(self, colour: str = "red", **fields: str) -> dict[str, Any]:
        body = {"image": png(graphs.patch(colour)), **fields}
        answer = self.client.post(f"/v1/models/{MODEL}/predictions", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["predictions"][0]


def png(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def square(rows: slice, columns: slice) -> str:
    region = np.zeros((graphs.SIDE, graphs.SIDE), np.uint8)
    region[rows, columns] = 255
    return png(region)


@pytest.fixture
def running(tmp_path) -> Iterator[Running]:
    registry = registry_of_colours(tmp_path)
    chosen = Settings(
        home=tmp_path,
        registry=registry.root,
        default_model=MODEL,
        device="cpu",
        threads=1,
        webhook_token=TOKEN,
        probe_share=1.0,
    )
    key = secret.secret_key(chosen.chain_key)
    audit = auditor.connect(chosen, Ledger(connections.open_writer(chosen.store), key))
    audit.prepare(now=clock.now())
    application = rest.create()
    serving = wiring.connect(chosen)
    rest.connect(application, serving)
    yield Running(Client(application), audit, serving)
    close(serving)
    audit.ledger.engine.dispose()


def close(serving: wiring.Serving) -> None:
    serving.pool.close()
    serving.recorder.close()
    serving.store.close()


def test_a_summary_is_the_mean_of_what_was_answered(running: Running) -> None:
    inside = square(slice(0, 4), slice(0, 4))
    answers = [running.predict("red", region=inside) for _ in range(3)]
    answers.append(running.predict("red", region=square(slice(8, 12), slice(8, 12))))
    running.predict("green")
    running.drain()
    found = running.client.get(f"/v1/models/{MODEL}/audit").json()
    recalls = [each["audit"]["activation_recall"] for each in answers]
    [recall] = [each for each in found["measures"] if each["measure"] == "activation_recall"]

    assert found["coverage"] == {
        "answers": 5,
        "with_region": 4,
        "with_label": 0,
        "reviewed": 0,
        "erased": 0,
    }
    assert (recall["class"], recall["source"]) == ("red", "client")
    assert recall["estimate"]["value"] == pytest.approx(np.mean(recalls), abs=1e-6)
    half = 1.959964 * np.std(recalls, ddof=1) / 2
    assert recall["estimate"]["high"] - np.mean(recalls) == pytest.approx(half, abs=1e-5)
    assert recall["estimate"]["observations"] == 4


def test_a_series_has_a_point_per_hour(running: Running) -> None:
    for hour in range(3):
        for value in (0.2, 0.4 + hour / 10):
            at = START + timedelta(hours=hour, minutes=int(60 * value))
            _write(running, at, value)
    running.drain()
    query = {"since": (START + timedelta(hours=1)).isoformat()}
    found = running.client.get(f"/v1/models/{MODEL}/audit/series", params=query).json()

    assert [0.35, 0.4] == [round(each["estimate"]["value"], 6) for each in found["points"]]
    assert found["points"][0]["start"] == "2026-03-01T13:00:00Z"


def _write(running: Running, at, recall: float) -> None:
    prediction = running.serving.champions.current(MODEL)
    [made] = prediction.session.predict(graphs.patch("red")[None])
    running.serving.recorder.record(
        [
            recording.AnswerEntry(
                prediction_id=identifier(at),
                now=at,
                model=prediction.ref,
                classes=graphs.CLASSES,
                prediction=made,
                region=recording.AnsweredRegion("client", "", np.ones((4, 4), np.float32), 1.0),
                measures={"activation_recall": recall},
            )
        ]
    )


def test_later_truth_is_accepted_and_changes_the_summary(running: Running) -> None:
    answer = running.predict("red")
    path = f"/v1/predictions/{answer['prediction_id']}"
    region = {"region": square(slice(0, 4), slice(0, 4)), "stratum": "random", "actor": "ada"}
    verdict = {"verdict": "right-reason", "actor": "ada", "stratum": "random", "inclusion": 0.1}
    for reply in (
        running.client.put(f"{path}/label", json={"label": "red", "actor": "ada"}),
        running.client.put(f"{path}/region", json=region),
        running.client.post(f"{path}/reviews", json=verdict),
    ):
        assert reply.status_code == 202, reply.text
    running.drain()
    found = running.client.get(f"/v1/models/{MODEL}/audit").json()
    [recall] = [each for each in found["measures"] if each["measure"] == "activation_recall"]

    assert found["verdicts"] == {"right-reason": 1}
    assert (found["coverage"]["with_label"], found["coverage"]["reviewed"]) == (1, 1)
    assert recall["source"] == "reviewer"
    assert recall["estimate"]["value"] == pytest.approx(1.0, abs=0.01)
    assert recall["estimate"]["low"] is None  # one observation says nothing about the range


@pytest.mark.parametrize(
    ("verb", "path", "body", "status"),
    [
        ("PUT", "label", {"label": "blue", "more": 1}, 422),
        ("PUT", "label", {"label": "violet"}, 422),
        ("PUT", "label", {"label": "\0"}, 422),
        ("PUT", "region", {"region": "????"}, 422),
        ("PUT", "region", {"region": png(np.ones((3, 3), np.uint8))}, 422),
        ("PUT", "region", {"region": png(np.zeros((16, 16), np.uint8))}, 422),
        ("POST", "reviews", {"verdict": "maybe"}, 422),
        ("POST", "reviews", {"verdict": "unsure", "inclusion": 0}, 422),
        ("POST", "reviews", {"verdict": "unsure", "exemplar": "good"}, 422),
        ("POST", "readings", {"actor": ""}, 422),
    ],
)
def test_truth_that_cannot_be_used_is_refused(running: Running, verb, path, body, status) -> None:
    known = running.predict("red")["prediction_id"]
    answer = running.client.request(verb, f"/v1/predictions/{known}/{path}", json=body)

    assert status == answer.status_code, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_second_reader_is_another_person_and_disagreement_is_listed(running: Running) -> None:
    path = f"/v1/predictions/{running.predict('red')['prediction_id']}"
    assert 202 == running.client.post(f"{path}/readings", json={"actor": "ada"}).status_code
    first = {"verdict": "right-reason", "actor": "ada", "exemplar": "good"}
    assert 202 == running.client.post(f"{path}/reviews", json=first).status_code
    running.drain()
    second = {"verdict": "wrong-reason", "reading": "second", "note": "the corner"}
    own = running.client.post(f"{path}/reviews", json=second | {"actor": "ada"})
    assert 409 == own.status_code
    assert (
        202 == running.client.post(f"{path}/reviews", json=second | {"actor": "bob"}).status_code
    )
    running.drain()
    found = running.client.get(f"/v1/models/{MODEL}/audit/agreement").json()

    assert ("kappa", 2, 1) == (found["coefficient"], found["readers"], found["answers"])
    assert 0.0 == found["observed"]["value"]
    (conflict,) = found["conflicts"]
    assert [("ada", "", "red"), ("bob", "the corner", "red")] == [
        (each["actor"], each["note"], conflict["class"]) for each in conflict["readings"]
    ]


def test_regions_of_every_source_are_found(running: Running) -> None:
    where = square(slice(0, 8), slice(0, 16))
    path = f"/v1/predictions/{running.predict('red', region=where)['prediction_id']}"
    drawn = {"region": square(slice(0, 4), slice(0, 4)), "basis": "heatmap", "stratum": "random"}
    assert 202 == running.client.put(f"{path}/region", json=drawn).status_code
    running.drain()
    found = running.client.get(f"{path}/regions").json()["items"]

    assert {"client": 0.5, "reviewer": 1 / 16} == {each["source"]: each["area"] for each in found}
    assert [1.0, 0.0, 0.0, 0.0] == found[1]["grid"][0]


def test_truth_about_an_unknown_answer_is_refused(running: Running) -> None:
    unknown = identifier(clock.now())
    answer = running.client.put(f"/v1/predictions/{unknown}/label", json={"label": "red"})

    assert answer.status_code == 404


def raise_alarm(running: Running) -> str:
    """A drill's alarm: it needs no reference and comes within a few answers."""
    rated = records.RatedClass(0, "red", 0.9)
    for number in range(40):
        _write(running, START + timedelta(seconds=number), 0.5)
    running.serving.recorder.note([_drilled(number, rated) for number in range(40)])
    running.drain()
    items = running.client.get("/v1/alarms", params={"state": "alarm"}).json()["items"]
    return items[0]["alarm_id"]


def _drilled(number: int, rated: records.RatedClass) -> records.Event:
    example = prediction(number)
    return records.PredictionRecord(
        event_id=f"drill{number}",
        event_time=START,
        model=records.ModelRef(MODEL, 1, "sha256:00"),
        classes=(rated,),
        probabilities=example.probabilities,
        target=rated,
        explainer="gradcam/1",
        heatmap=example.heatmap,
        region=region(1),
        measures={"activation_recall": 0.05},
        stream="drill",
    )


def test_an_alarm_is_listed_and_acknowledged_once(running: Running) -> None:
    alarm_id = raise_alarm(running)
    path = f"/v1/alarms/{alarm_id}/acknowledgement"
    seen = {"actor": "ada", "reason": "it is a drill"}
    [alarm] = running.client.get("/v1/alarms", params={"state": "alarm"}).json()["items"]

    assert (alarm["measure"], alarm["side"]) == ("activation_recall", "low")
    assert alarm["evidence"]["value"] >= alarm["evidence"]["threshold"]
    assert running.client.post(path, json=seen).status_code == 202
    running.drain()
    assert running.client.post(path, json=seen).status_code == 409
    [row] = [row for row in running.rows(tables.alarms) if row.alarm_id == alarm_id]
    assert (row.state, row.actor, row.reason) == ("acknowledged", "ada", "it is a drill")


def test_an_alarm_over_reliance_says_where_the_answers_come_from(running: Running) -> None:
    """The colour that tells the class lies outside of what is said to be relevant."""
    elsewhere = square(slice(8, 12), slice(8, 12))
    for _ in range(40):
        for colour in ("red", "green"):
            running.predict(colour, region=elsewhere)
        running.drain()
    found = running.client.get("/v1/alarms", params={"state": "alarm"}).json()["items"]
    alarms = {each["class"]: each for each in found if each["measure"] == "part_reliance"}
    where = alarms["red"]["evidence"]["where"]
    answers = running.client.get(f"/v1/predictions/{where['examples'][0]}").json()

    assert {"red", "green"} == set(alarms)
    assert where["said"].endswith("of the answers 'red'")
    assert where["answers"] >= 8
    assert where["consistency"] > 0.5
    assert np.array(where["map"]).shape == (5, 5)
    assert answers["classes"][0]["label"] == "red"
    assert alarms["red"]["evidence"]["reference"] <= HEALTHY.mean
    others = [each for each in found if each["measure"] != "part_reliance"]
    assert all(each["evidence"]["where"] is None for each in others)


def test_alarms_are_paged(running: Running) -> None:
    raise_alarm(running)
    whole = running.client.get("/v1/alarms").json()["items"]
    paged, cursor = [], None
    while True:
        query = {"limit": 1} | ({"cursor": cursor} if cursor else {})
        page = running.client.get("/v1/alarms", params=query).json()
        paged += page["items"]
        if (cursor := page["next"]) is None:
            break

    assert whole == paged
    assert running.client.get("/v1/alarms", params={"cursor": "x"}).status_code == 422
    assert running.client.get("/v1/alarms", params={"state": "x"}).status_code == 422


def test_an_unknown_alarm_is_not_acknowledged(running: Running) -> None:
    path = f"/v1/alarms/{'0' * 26}/acknowledgement"

    assert running.client.post(path, json={"actor": "a", "reason": "b"}).status_code == 404


def alert(number: int = 1, **labels: str) -> dict[str, Any]:
    return {
        "status": "firing",
        "labels": {"alertname": "Drift", "model": MODEL, "action": "retrain", **labels},
        "fingerprint": f"{number:016x}",
        "startsAt": "2026-03-01T12:00:00Z",
        "generatorURL": "http://prometheus/x",
    }


def deliver(running: Running, *alerts: dict[str, Any], token: str = TOKEN) -> Any:  # noqa: ANN401
    return running.client.post(
        "/v1/webhooks/alertmanager",
        json={"version": "4", "alerts": list(alerts)},
        headers={"authorization": f"Bearer {token}"},
    )


def test_a_storm_of_alerts_asks_once(running: Running) -> None:
    """A thousand alerts, and the same ones delivered again: one open request."""
    first = deliver(running, *(alert(number) for number in range(1000)))
    again = deliver(running, *(alert(number) for number in range(1000)))
    running.drain()

    assert first.status_code == 202
    assert first.json()["requests"] == again.json()["requests"]
    assert len(running.rows(tables.requests)) == 1000
    assert [MODEL] == [row.model for row in running.rows(tables.requests) if row.status == "open"]


def test_cool_down_and_budget_hold_for_alerts_too(running: Running) -> None:
    deliver(running, alert(1))
    running.drain()
    [request] = running.rows(tables.requests)
    done = records.ActionEvent(
        identifier(clock.now()),
        clock.now(),
        "run",
        "work",
        {"request_id": request.request_id, "status": "rejected"},
    )
    running.serving.recorder.note([done])
    deliver(running, alert(2))
    deliver(running, alert(1))
    running.drain()

    assert ["rejected", "superseded"] == [
        row.status for row in sorted(running.rows(tables.requests), key=lambda row: row.seq)
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"status": "resolved"},
        {"labels": {"model": MODEL}},
        {"labels": {"model": "../../etc", "action": "retrain"}},
        {"labels": {"action": "retrain"}},
    ],
)
def test_other_alerts_ask_for_nothing(running: Running, other) -> None:
    assert deliver(running, alert() | other).json() == {"requests": [], "ignored": 1}


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x"])
def test_a_webhook_without_the_token_is_refused(running: Running, token) -> None:
    assert deliver(running, alert(), token=token).status_code == 403
    assert [] == list((running.serving.settings.journal).glob("*.jsonl"))


def test_wrong_tokens_are_slowed_down_and_the_right_one_never(running: Running) -> None:
    tried = [deliver(running, alert(), token=f"guess {n}").status_code for n in range(12)]

    assert [403] * 10 + [429] * 2 == tried
    assert deliver(running, alert()).status_code == 202


def test_images_and_stores_are_for_their_owner_alone(running: Running) -> None:
    running.predict("red")
    running.audit.step(now=clock.now())
    home = running.serving.settings.home
    private = [*home.glob("*.db"), *(each for each in home.glob("images/**/*") if each.is_file())]

    assert len(private) >= 3
    assert {0o600} == {each.stat().st_mode & 0o777 for each in private}


def test_without_a_store_the_audit_is_unavailable_and_says_so(tmp_path) -> None:
    registry = registry_of_colours(tmp_path)
    chosen = Settings(home=tmp_path, registry=registry.root, default_model=MODEL, device="cpu")
    application = rest.create()
    serving = wiring.connect(chosen)
    rest.connect(application, serving)
    answer = Client(application).get("/v1/alarms")
    close(serving)

    assert answer.status_code == 503
    assert "auditor" in answer.json()["detail"]


def test_a_chart_of_the_evidence_has_its_alarm_its_threshold_and_its_versions(
    running: Running,
) -> None:
    for number in range(300):  # the first 200 are the reference
        at = START + timedelta(seconds=number)
        _write(running, at, 0.7 if number < 200 else 0.1)
    running.drain()
    listed = running.client.get(f"/v1/models/{MODEL}/audit/watches").json()["items"]
    strongest = listed[0]
    query = {name: strongest[name] for name in ("measure", "class", "side", "source")}
    found = running.client.get(f"/v1/models/{MODEL}/audit/evidence", params=query).json()

    assert ("activation_recall", "low") == (strongest["measure"], strongest["side"])
    assert strongest["state"] in {"alarm", "requested"}  # the policy may have asked already
    assert found["watch"] == strongest
    assert [*range(1, 101)] == [each["observations"] for each in found["points"]]
    threshold = found["watch"]["evidence"]["threshold"]
    alarm = next(each for each in found["marks"] if each["state"] == "alarm")
    crossed = next(each for each in found["points"] if each["value"] >= threshold)
    assert alarm["at"] == crossed["at"]
    assert [(1, None)] == [(each["version"], each["until"]) for each in found["bands"]]

    few = running.client.get(
        f"/v1/models/{MODEL}/audit/evidence", params={**query, "most": 10}
    ).json()["points"]
    assert 10 == len(few)
    assert max(each["value"] for each in found["points"]) == max(each["peak"] for each in few)


def test_what_is_not_watched_is_said(running: Running) -> None:
    answer = running.client.get(
        f"/v1/models/{MODEL}/audit/evidence", params={"measure": "nothing"}
    )

    assert 404 == answer.status_code
    assert "watches" in answer.json()["detail"]


def test_a_distribution_counts_every_value_once(running: Running) -> None:
    values = [0.0, 0.04, 0.05, 0.5, 0.999, 1.0]
    for number, value in enumerate(values):
        _write(running, START + timedelta(seconds=number), value)
    running.drain()
    query = {"measure": "activation_recall"}
    found = running.client.get(f"/v1/models/{MODEL}/audit/distribution", params=query).json()

    [version] = found["versions"]
    assert np.histogram(values, found["edges"])[0].tolist() == version["counts"]
    assert len(values) == version["observations"]
    assert np.mean(values) == pytest.approx(version["mean"]["value"], abs=1e-8)


def test_requests_and_decisions_are_paged_and_refuse_foreign_cursors(running: Running) -> None:
    for path in ("/v1/requests", f"/v1/models/{MODEL}/audit/decisions"):
        found = running.client.get(path)
        assert {"items": [], "next": None} == found.json()
        assert 422 == running.client.get(path, params={"cursor": "x"}).status_code
