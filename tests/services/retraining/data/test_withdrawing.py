"""Erasure reaches the data of retrainings that are over, and the versions that learned."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from audit import records
from audit.store import queries, tables
from models import erasures
from models.cards import CardFields, Lineage
from models.training.image_sets import ImageSet
from services import clock, secret
from services.commands.cli import app
from services.retraining.data import withdrawing
from services.retraining.data.withdrawing import Withdrawal
from services.retraining.files import Folder
from services.settings import Settings
from tests import graphs
from tests.served import MODEL
from tests.services.routes.test_audit_routes import Running, running  # noqa: F401 - the fixture

RUN = "01M80RETRA1N1NG0000000000A"


@dataclass
class Learned:
    """A retraining that is over, its version, and the answers that it learned from."""

    running: Running
    here: Folder
    erased: list[str]
    kept: list[str]
    digest: str

    @property
    def manifest(self) -> dict:
        return self.here.read_json("manifest.json")

    def version(self) -> dict:
        return self.running.client.get(f"/v1/models/{MODEL}/versions/2").json()

    def holds(self, text: str) -> bool:
        """Whether any file of the retraining holds this text, or the rows an id of it."""
        files = [path for path in self.here.path.rglob("*") if path.is_file()]
        return any(text.encode() in path.read_bytes() for path in files) or any(
            text in each for each in self.here.read_set("training").ids
        )


def rows(ids: list[str]) -> ImageSet:
    images = np.stack([graphs.patch(graphs.CLASSES[n % 3], n % 8) for n in range(len(ids))])
    return ImageSet(images, np.arange(len(ids)) % 3, graphs.CLASSES, tuple(ids))


@pytest.fixture
def learned(running: Running) -> Learned:  # noqa: F811 - pytest's way
    mine = [running.predict(subject="patient-1")["prediction_id"] for _ in range(2)]
    others = [running.predict(subject="patient-2")["prediction_id"] for _ in range(3)]
    running.drain()
    here = Folder(running.serving.settings.retrainings / RUN)
    training = rows(["base/0", "base/1", *mine, *others])
    here.write_set("training", training)
    pair = {"good": mine[0], "bad": others[0]}
    entrants = [{"objective": "erm", "good": "", "bad": ""}, {"objective": "exbl", **pair}]
    told = {**pair, "weights": "", "tournament": {"minutes": 1.0, "entrants": entrants}}
    here.write_json("recipe.json", told)
    collected = [{"row": each, "label": "red", "verdict": ""} for each in mine + others]
    here.write_json(
        "manifest.json", {"digest": training.digest, "base": {"rows": 2}, "collected": collected}
    )
    here.attempt(1).mkdir()
    fields = CardFields(lineage=Lineage(dataset=training.digest, recipe={"retraining": RUN}))
    made = graphs.write_version(here.path / "made", gain=graphs.GAIN / 2)
    running.serving.registry.add(MODEL, made, fields, now=clock.now())
    return Learned(running, here, mine, others, training.digest)


def check(learned: Learned) -> None:
    manifest, training = learned.manifest, learned.here.read_set("training")
    said = learned.version()["cautions"]

    assert not any(learned.holds(each) for each in learned.erased)
    assert ("base/0", "base/1", *learned.kept) == training.ids
    assert manifest["digest"] == training.digest != learned.digest
    assert manifest["original_digest"] == learned.digest
    assert [each["learned"] for each in manifest["withdrawn"]] == [True, True]
    assert said == [f"trained on since-erased data: 2 rows, last on {clock.now():%Y-%m-%d}"]
    assert learned.version()["card"]["lineage"]["dataset"] == learned.digest
    events = [
        queries.payload(connection, row.seq)
        for connection in [learned.running.audit.ledger.engine.connect()]
        for row in connection.execute(tables.events.select())
        if row.kind == "erasure"
    ]
    assert {version for each in events for version in each.versions} == {f"{MODEL}/2"}


def test_by_rest_the_rows_leave_and_the_version_says_so(learned: Learned) -> None:
    client = learned.running.client
    asked = client.post("/v1/erasures", json={"subject": "patient-1", "actor": "dpo"})
    name = asked.json()["event_id"]
    waiting = client.get(f"/v1/erasures/{name}")
    unknown = client.get(f"/v1/erasures/{name[::-1]}")
    learned.running.drain()
    learned.running.audit.step(now=clock.now())
    done = client.get(f"/v1/erasures/{name}").json()

    assert asked.status_code == 202
    assert waiting.json() == {"event_id": name, "done_at": None}
    assert unknown.status_code in {404, 422}
    assert done["done_at"] is not None
    check(learned)


def test_by_the_command_line(learned: Learned, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = learned.running.serving.settings
    monkeypatch.setenv("RIGHTLY_HOME", str(chosen.home))
    monkeypatch.setenv("RIGHTLY_REGISTRY", str(chosen.registry))
    done = CliRunner().invoke(app, ["audit", "erase", "patient-1"])

    assert done.exit_code == 0, done.output
    check(learned)
    listed = CliRunner().invoke(app, ["models", "show", MODEL, "2"]).output
    assert "since-erased" in listed


def withdrawal(learned: Learned) -> Withdrawal:
    chosen: Settings = learned.running.serving.settings
    key = secret.secret_key(chosen.chain_key)
    return Withdrawal(chosen.retrainings, learned.running.serving.registry, key, clock.now)


def test_asked_twice_it_answers_the_same_and_changes_nothing(learned: Learned) -> None:
    """As after a crash between the files and the database."""
    withdraw = withdrawal(learned)
    first = withdraw(learned.erased)
    before = learned.manifest
    second = withdraw(learned.erased)

    assert first == second == (f"{MODEL}/2",)
    assert learned.manifest == before


def test_commitments_are_keyed(learned: Learned) -> None:
    ours = withdrawal(learned)
    others = replace(ours, key=b"another installation")

    assert ours.commitment("a") != others.commitment("a")
    assert ours.commitment("a") != ours.commitment("b")


def test_exemplars_leave_the_recipe(learned: Learned) -> None:
    withdrawal(learned)(learned.erased)
    recipe = learned.here.read_json("recipe.json")

    assert learned.erased[0] not in json.dumps(recipe)
    assert recipe["bad"] == learned.kept[0]


def test_who_is_not_in_the_data_changes_nothing(learned: Learned) -> None:
    before = learned.manifest
    found = withdrawal(learned)(["01HZ0000000000000000000000"])

    assert found == ()
    assert learned.manifest == before
    assert learned.version()["cautions"] == []


def test_rows_withdrawn_before_training_are_not_held_against_the_version(
    learned: Learned,
) -> None:
    learned.here.attempt(1).rmdir()
    found = withdrawal(learned)(learned.erased)
    version = learned.running.serving.registry.version(MODEL, 2)
    withdrawing.flag_filed(
        learned.running.serving.registry, version, learned.here, now=clock.now()
    )

    assert found == ()
    assert learned.version()["cautions"] == []


def test_a_version_filed_after_the_erasure_is_flagged_too(
    learned: Learned, tmp_path: Path
) -> None:
    registry = learned.running.serving.registry
    withdrawal(learned)(learned.erased)
    made = graphs.write_version(tmp_path / "late", gain=graphs.GAIN / 3)
    fields = CardFields(lineage=Lineage(recipe={"retraining": RUN}))
    late = registry.add(MODEL, made, fields, now=clock.now())
    withdrawing.flag_filed(registry, late, learned.here, now=clock.now())

    assert len(erasures.of(registry.root, MODEL, late.ref.version)[0]["withdrawn"]) == 2


@pytest.mark.parametrize("body", [{}, {"subject": ""}, {"subject": "a\0b"}, {"subject": 7}])
def test_an_erasure_of_nobody_is_refused(running: Running, body) -> None:  # noqa: F811
    reply = running.client.post("/v1/erasures", json=body)

    assert reply.status_code == 422
    assert records.ErasureRequest.kind not in reply.text
