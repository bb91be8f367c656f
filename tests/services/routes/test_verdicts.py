"""The verdict over HTTP and on the pages: one sentence, one next step, the same everywhere."""

from typer.testing import CliRunner

from audit import records
from services import clock
from services.commands.cli import app
from services.identifiers import identifier
from services.parts import progress
from services.records import presence
from tests.served import MODEL
from tests.services.routes.test_audit_routes import Running, running, square  # noqa: F401 - the fixture

PATH = f"/v1/models/{MODEL}/verdict"


def test_without_regions_nothing_is_watched_and_nothing_is_green(running: Running) -> None:  # noqa: F811
    blind = running.client.get(PATH).json()
    at_work(running)
    fresh = running.client.get(PATH).json()
    running.predict("red")
    running.drain()
    found = running.client.get(PATH).json()
    page = running.client.get("/").text

    assert ("blind", "unknown") == (blind["kind"], blind["colour"])
    assert ("fresh", "unknown") == (fresh["kind"], fresh["colour"])
    assert ("unwatched", "unknown", "send-regions") == (
        found["kind"],
        found["colour"],
        found["next_step"],
    )
    assert "none of 1 answer says where the evidence belongs" in found["sentence"]
    assert found["sentence"].replace("'", "&#39;") in page
    assert "pill ok" not in page, "no alarm is no news where nothing is watched"


def test_the_command_line_says_the_same(running: Running, monkeypatch) -> None:  # noqa: F811
    at_work(running)
    running.predict("red")
    running.drain()
    sentence = running.client.get(PATH).json()["sentence"]
    monkeypatch.setenv("RIGHTLY_HOME", str(running.serving.settings.home))
    monkeypatch.setenv("RIGHTLY_REGISTRY", str(running.serving.settings.registry))
    done = CliRunner().invoke(app, ["audit", "status"])

    assert f"{MODEL}: {sentence} Next: say where the evidence belongs." in " ".join(
        done.output.split()
    )


def test_an_unknown_model_has_no_verdict(running: Running) -> None:  # noqa: F811
    assert running.client.get("/v1/models/nobody/verdict").status_code == 404


def test_alarms_of_one_cause_are_one_incident_with_its_answers(running: Running) -> None:  # noqa: F811
    inside = square(slice(0, 4), slice(0, 4))
    asked = [running.predict("red", region=inside)["prediction_id"] for _ in range(3)]
    running.drain()
    version = running.serving.registry.champion(MODEL).ref.version
    with running.audit.ledger.batch(now=clock.now()) as batch:
        for number, measure in enumerate(("activation_recall", "relevance_mass")):
            batch.append(raised(f"0{number}", measure, version))
    page = running.client.get("/alarms").text
    review = running.client.get(f"/review?model={MODEL}&alarm=00").text

    assert 1 == page.count('class="incident"')
    assert "Heatmaps have left the evidence" in page
    assert "Review these 3" in page
    assert all(each in review for each in asked)
    assert 404 == running.client.get(f"/review?model={MODEL}&alarm=nobody").status_code
    verdict = running.client.get(PATH).json()
    assert ("attention", "review") == (verdict["kind"], verdict["next_step"])
    assert "heatmaps (“red”) have moved off the evidence" in verdict["sentence"]


def at_work(running: Running) -> None:  # noqa: F811
    """Say for the auditor, whose steps the test takes itself, that it works."""
    showing = presence.Showing(running.serving.settings.home, "auditor")
    showing.show({}, now=clock.now())


def raised(alarm_id: str, measure: str, version: int) -> records.AlarmEvent:
    now = clock.now()
    return records.AlarmEvent(
        event_id=identifier(now),
        event_time=now,
        alarm_id=alarm_id,
        model=MODEL,
        version=version,
        measure=measure,
        class_label="red",
        side="low",
        source="client",
        state="alarm",
        evidence={"observations": 70.0, "value": 21000.0, "threshold": 20000.0},
        actor="auditor",
    )


def test_pages_say_that_retraining_is_being_installed(running: Running) -> None:  # noqa: F811
    home = running.serving.settings.home
    told = "a retraining that is asked for meanwhile waits for it"
    before = running.client.get("/").text
    progress.write(home, "installing", now=clock.now())
    during = [running.client.get(path).text for path in ("/", "/overview/models", "/runs")]
    progress.write(home, "ready", now=clock.now())

    assert told not in before
    assert [told in each for each in during] == [True, True, True]
    assert told not in running.client.get("/").text
