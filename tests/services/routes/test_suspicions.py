"""Suspected shortcuts: grouped by the auditor, shown and judged over HTTP."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from prometheus_client import generate_latest

from audit import records
from audit.canonical import packed_shares
from audit.journal.writer import Writer
from services import clock
from services.auditing.gauges import Gauges
from tests.entries import prediction
from tests.served import MODEL
from tests.services.routes.test_audit_routes import Running, running  # noqa: F401 - the fixture

PATH = f"/v1/models/{MODEL}/suspected-shortcuts"


def answer(number: int, *, cornered: bool, label: str = "7") -> records.PredictionRecord:
    """An answer whose heatmap sits in a corner, or follows an object near the centre."""
    rng = np.random.default_rng([number, 5])
    rows, columns = np.mgrid[:7, :7]
    row, column = (0.3, 6.0) if cornered else rng.normal(3.2, 0.7, 2)
    width = 0.8 if cornered else 1.5
    heat = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))
    rated = records.RatedClass(7, label, 0.9)
    made = prediction(number)
    return replace(
        made,
        model=replace(made.model, name=MODEL, version=1),
        classes=(rated,),
        target=rated,
        heatmap=packed_shares(heat),
        region=None,
        measures={},
    )


def write(running: Running, *entries: records.Entry) -> None:  # noqa: F811 - no fixture
    source = f"w{clock.now().timestamp():.6f}".replace(".", "")
    with Writer(running.audit.journal, source) as journal:
        journal.append([records.to_bytes(each) for each in entries])
    running.drain()


@pytest.fixture
def suspected(running: Running) -> Running:  # noqa: F811 - pytest's way
    """A class that is decided by a corner in 30 of 110 answers."""
    write(running, *(answer(n, cornered=n % 4 == 0) for n in range(120)))
    return running


def test_the_corner_is_listed_with_its_examples(suspected: Running) -> None:
    found = suspected.client.get(PATH).json()
    first = found["items"][0]

    assert found["next"] is None
    assert first["suspected"]
    assert first["score"] > 0.5
    assert (first["size"], first["answers"], first["class"]) == (30, 120, "7")
    assert (0, 6) == np.unravel_index(np.argmax(first["heatmap"]), (7, 7))
    assert np.sum(first["heatmap"]) == pytest.approx(1.0, abs=1e-4)
    cornered = {answer(n, cornered=True).event_id for n in range(0, 120, 4)}
    assert len(first["examples"]) == 9
    assert set(first["examples"]) <= cornered
    assert (first["verdict"], first["current"]) == ("open", True)


def test_every_group_is_there_for_who_asks_for_all(suspected: Running) -> None:
    suspicious = suspected.client.get(PATH).json()["items"]
    every = suspected.client.get(PATH, params={"least": 0}).json()["items"]
    paged, cursor = [], None
    for _ in range(len(every)):
        page = suspected.client.get(
            PATH, params={"least": 0, "limit": 1} | ({"cursor": cursor} if cursor else {})
        ).json()
        paged, cursor = paged + page["items"], page["next"]

    assert len(suspicious) < len(every)
    assert paged == every
    assert cursor is None
    assert [each["score"] for each in every] == sorted(
        (each["score"] for each in every), reverse=True
    )


def test_verdicts_are_kept_and_survive_the_next_grouping(suspected: Running) -> None:
    first = suspected.client.get(PATH).json()["items"][0]
    one = f"{PATH}/{first['suspicion_id']}"
    for verdict, actor in (("dismissed", "ada"), ("confirmed", "bea")):
        told = {"verdict": verdict, "actor": actor, "note": "the scanner's marker"}
        assert suspected.client.post(f"{one}/verdicts", json=told).status_code == 202
        suspected.drain()
    write(suspected, *(answer(n, cornered=n % 4 == 0) for n in range(120, 160)))
    asked = suspected.client.post(f"{PATH}/searches", json={"actor": "ada"})
    suspected.drain()
    again = suspected.client.get(one).json()

    assert asked.status_code == 202
    assert again["verdict"] == "confirmed"
    assert ["ada", "bea"] == [each["actor"] for each in again["verdicts"]]
    assert (again["size"], again["answers"]) == (40, 160)
    assert again["first_found_at"] < again["found_at"]
    assert suspected.client.get(PATH, params={"verdict": "open"}).json()["items"] == []


def test_nothing_is_looked_at_again_before_there_is_enough_new(suspected: Running) -> None:
    before = suspected.client.get(PATH).json()["items"][0]["found_at"]
    write(suspected, *(answer(n, cornered=False) for n in range(120, 200)))
    waiting = suspected.audit.suspecting.fresh
    suspected.audit.reload()

    assert suspected.client.get(PATH).json()["items"][0]["found_at"] == before
    assert [80] == list(waiting.values())
    assert waiting == suspected.audit.suspecting.fresh


def test_a_look_is_due_after_enough_new_answers_and_a_pause(suspected: Running) -> None:
    write(suspected, *(answer(n, cornered=False) for n in range(120, 230)))
    suspected.audit.step(now=clock.now() + timedelta(seconds=10))

    assert 230 == suspected.client.get(PATH).json()["items"][0]["answers"]


def test_prometheus_shows_what_is_open_and_forgets_what_is_dismissed(suspected: Running) -> None:
    def series() -> str:
        gauges.show_suspicions(suspected.audit.suspecting.standing)
        return generate_latest(gauges.registry).decode()

    gauges = Gauges()
    before = series()
    name = suspected.client.get(PATH).json()["items"][0]["suspicion_id"]
    suspected.client.post(f"{PATH}/{name}/verdicts", json={"verdict": "dismissed"})
    suspected.drain()
    after = series()

    assert f'audit_suspected_shortcuts{{model="{MODEL}",verdict="open",version="1"}} 1.0' in before
    assert f'audit_shortcut_suspicion{{class="7",model="{MODEL}",version="1"}}' in before
    assert 'verdict="dismissed"' in after
    assert "audit_shortcut_suspicion{" not in after


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{PATH}?cursor=x", 422),
        (f"{PATH}?least=2", 422),
        (f"{PATH}?verdict=maybe", 422),
        (f"{PATH}/{'0' * 26}", 404),
        (f"{PATH}/nothing", 422),
        ("/v1/models/unknown/suspected-shortcuts", 404),
    ],
)
def test_what_cannot_be_found_is_said(suspected: Running, path: str, status: int) -> None:
    reply = suspected.client.get(path)

    assert status == reply.status_code
    assert reply.headers["content-type"] == "application/problem+json"
