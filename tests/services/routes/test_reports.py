"""The report on a model: everything that is known, on one page, its digest in the trail."""

import hashlib

from typer.testing import CliRunner

from audit.store import queries, tables
from services.commands.cli import app
from tests.served import MODEL
from tests.services.routes.test_audit_routes import (  # noqa: F401 - the fixture
    Running,
    running,
    square,
)

PATH = f"/v1/models/{MODEL}/report.html"


def test_a_report_says_what_is_known_and_leaves_its_digest(running: Running) -> None:  # noqa: F811
    before = running.client.get(PATH)
    running.predict("red", region=square(slice(0, 4), slice(0, 4)))
    running.drain()
    page = running.client.get(PATH).text
    running.drain()

    assert before.status_code == 200
    sentence = running.client.get(f"/v1/models/{MODEL}/verdict").json()["sentence"]
    assert sentence.replace("'", "&#39;") in page
    assert "1 answers recorded, 1 with a region" in page
    assert "activation recall" in page
    assert "[may_change]" in page, "the plan in force is part of it"
    assert "http" not in page.replace("https://", ""), "it needs no other file"
    with running.audit.ledger.engine.begin() as connection:
        rows = connection.execute(tables.events.select().where(tables.events.c.kind == "action"))
        told = [queries.payload(connection, row.seq) for row in rows]
    digest = hashlib.sha256(page.encode()).hexdigest()
    assert digest in {each.details.get("sha256") for each in told}


def test_the_command_line_writes_the_same_page(running: Running, monkeypatch, tmp_path) -> None:  # noqa: F811
    monkeypatch.setenv("RIGHTLY_HOME", str(running.serving.settings.home))
    monkeypatch.setenv("RIGHTLY_REGISTRY", str(running.serving.settings.registry))
    to = tmp_path / "report.html"
    done = CliRunner().invoke(app, ["report", MODEL, "--to", str(to)])

    assert 0 == done.exit_code, done.output
    assert "<h2>6. Change-control plan in force</h2>" in to.read_text("utf-8")


def test_there_is_no_report_on_nobody(running: Running) -> None:  # noqa: F811
    assert running.client.get("/v1/models/nobody/report.html").status_code == 404
