"""The class mix over HTTP: shares with intervals, and whether it has changed."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from audit import intervals, records
from audit.journal.writer import Writer
from models.cards import CardFields
from services import clock
from services.versions.references import FIELD
from tests import graphs
from tests.entries import START, prediction
from tests.served import MODEL
from tests.services.routes.test_audit_routes import Running, running  # noqa: F401 - the fixture

PATH = f"/v1/models/{MODEL}/audit/class-mix"
STEADY, RED = (1 / 3, 1 / 3, 1 / 3), (0.8, 0.1, 0.1)


def answers(
    shares: tuple[float, ...], count: int, *, first: int = 0, version: int = 1
) -> list[records.PredictionRecord]:
    rng = np.random.default_rng(first + 1)
    made = []
    for number in range(first, first + count):
        index = int(rng.choice(3, p=shares))
        rated = records.RatedClass(index, graphs.CLASSES[index], 0.9)
        record = prediction(number)
        made.append(
            replace(
                record,
                event_time=START + timedelta(minutes=number),
                model=replace(record.model, name=MODEL, version=version),
                classes=(rated,),
                target=rated,
                region=None,
                measures={},
            )
        )
    return made


def write(running: Running, entries: list[records.PredictionRecord]) -> None:  # noqa: F811
    with Writer(running.audit.journal, f"w{clock.now().timestamp():.6f}") as journal:
        journal.append([records.to_bytes(each) for each in entries])
    running.drain()


def test_shares_per_window_agree_with_a_count(running: Running) -> None:  # noqa: F811
    made = answers(STEADY, 150)
    write(running, made)
    found = running.client.get(PATH, params={"bucket": "hour"}).json()
    first = found["windows"][0]
    counted = [each for each in made if each.event_time < START + timedelta(hours=1)]
    for share in first["shares"]:
        wanted = intervals.wilson(
            sum(each.decided.label == share["class"] for each in counted), len(counted)
        )

        assert wanted.value == pytest.approx(share["estimate"]["value"])
        assert wanted.low == pytest.approx(share["estimate"]["low"])
    assert [60, 60, 30] == [each["answers"] for each in found["windows"]]
    assert set(graphs.CLASSES) == {each["class"] for each in first["shares"]}


def test_traffic_is_its_own_reference_without_a_card(running: Running) -> None:  # noqa: F811
    write(running, answers(STEADY, 500))
    steady = running.client.get(PATH).json()
    write(running, answers(RED, 150, first=500))
    changed = running.client.get(PATH).json()

    assert steady["reference"]["origin"] == "traffic"
    assert (steady["verdict"]["state"], steady["verdict"]["observations"]) == ("steady", 300)
    assert changed["verdict"]["state"] == "changed"
    assert changed["verdict"]["changed_at"] > "2026-03-01T20:20"
    assert changed["verdict"]["statistic"] > changed["verdict"]["threshold"] == 30_000


def test_the_card_is_the_reference_where_it_has_one(running: Running) -> None:  # noqa: F811
    registry = running.serving.registry
    stated = {
        "confidence": {"red": [0.9, 0.1, 300], "green": [0.9, 0.1, 90]},
        "class_mix": {"red": [0.75, 0, 300], "green": [0.225, 0, 90], "blue": [0.025, 0, 10]},
    }
    made = graphs.write_version(running.serving.settings.home / "other", gain=graphs.GAIN / 2)
    registry.add(MODEL, made, CardFields(measures={FIELD: stated}), now=clock.now())
    write(running, answers(STEADY, 120, version=2))
    found = running.client.get(PATH, params={"version": 2}).json()

    assert found["reference"]["origin"] == "card"
    assert found["reference"]["shares"] == {
        "red": pytest.approx(0.75),
        "green": pytest.approx(0.225),
        "blue": pytest.approx(0.025),
    }
    assert found["verdict"]["state"] == "changed"


def test_too_few_answers_are_not_watched_and_it_says_why(running: Running) -> None:  # noqa: F811
    write(running, answers(STEADY, 5))
    found = running.client.get(PATH).json()

    assert found["verdict"]["state"] == "unwatched"
    assert "needs a reference of" in found["verdict"]["reason"]


def test_another_mix_alone_raises_no_alarm(running: Running) -> None:  # noqa: F811
    write(running, [*answers(STEADY, 300), *answers(RED, 200, first=300)])

    assert running.client.get(PATH).json()["verdict"]["state"] == "changed"
    assert running.client.get("/v1/alarms").json()["items"] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models/unknown/audit/class-mix", 404),
        (f"{PATH}?version=9", 404),
        (f"{PATH}?bucket=year", 422),
        (f"{PATH}?classes=0", 422),
        (f"{PATH}?since=2026-03-01T12:00:00", 422),
    ],
)
def test_what_cannot_be_found_is_said(running: Running, path: str, status: int) -> None:  # noqa: F811
    assert status == running.client.get(path).status_code
