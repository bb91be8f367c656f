"""Regions that nobody sends: from a segmenter in the auditor, a template in the gateway."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from audit import records
from audit.store import connections, tables
from audit.store.ledger import Ledger
from models import segmenters
from models.segmenters import Segmenter, Wish
from services import clock, secret, wiring
from services.auditing import auditor
from services.commands.cli import app
from services.identifiers import sampled
from services.settings import Settings
from services.web import rest
from tests import graphs
from tests.entries import prediction
from tests.served import MODEL, registry_of_colours
from tests.services.routes.test_audit_routes import Client, Running, close, square

PATH = f"/v1/models/{MODEL}"


def shapes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey images with a coloured rectangle somewhere, and where it is."""
    rng = np.random.default_rng(seed)
    images = rng.integers(60, 130, (count, graphs.SIDE, graphs.SIDE, 1)).repeat(3, axis=3)
    masks = np.zeros(images.shape[:3], bool)
    for image, mask in zip(images, masks, strict=True):
        row, column = rng.integers(0, graphs.SIDE - 4, 2)
        height, width = rng.integers(3, 7, 2)
        mask[row : row + height, column : column + width] = True
        image[mask, rng.integers(3)] = rng.integers(180, 256)
    return images.astype(np.uint8), masks


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that has learnt to find the rectangle, as an ONNX file."""
    import torch  # noqa: PLC0415 - only to make what somebody would bring
    from torch import nn  # noqa: PLC0415

    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 1, 1)
    )
    images, masks = shapes(200, seed=1)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    wanted = torch.from_numpy(masks)[:, None].float()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(250):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(network(pixels), wanted)
        loss.backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("segmenter") / "shapes.onnx"
    batch = torch.export.Dim("n")
    torch.onnx.export(
        network.eval(),
        (pixels[:2],),
        path,
        dynamo=True,
        external_data=False,
        opset_version=18,
        dynamic_shapes=({0: batch},),
        verbose=False,
    )
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    registry = registry_of_colours(tmp_path)
    monkeypatch.setenv("RIGHTLY_HOME", str(tmp_path))
    monkeypatch.setenv("RIGHTLY_REGISTRY", str(registry.root))
    return tmp_path


def started(home: Path, **changes: object) -> Running:
    options = {"segment_share": 1.0, "probe_share": 1.0, **changes}
    chosen = Settings(
        home=home, registry=home / "registry", default_model=MODEL, device="cpu", **options
    )
    key = secret.secret_key(chosen.chain_key)
    audit = auditor.connect(chosen, Ledger(connections.open_writer(chosen.store), key))
    audit.prepare(now=clock.now())
    application = rest.create()
    serving = wiring.connect(chosen)
    rest.connect(application, serving)
    return Running(Client(application), audit, serving)


@pytest.fixture
def running(home: Path) -> Iterator[Running]:
    made = started(home)
    yield made
    close(made.serving)
    made.audit.ledger.engine.dispose()


def attach(path: Path) -> None:
    done = CliRunner().invoke(app, ["attach-segmenter", MODEL, str(path), "--output", "logit"])
    assert done.exit_code == 0, done.output


def sources(running: Running, name: str = "activation_recall") -> dict[str, int]:
    found: dict[str, int] = {}
    for row in running.rows(tables.measures):
        if row.name == name:
            found[row.source] = found.get(row.source, 0) + 1
    return found


def test_a_trained_segmenter_finds_what_it_has_not_seen(trained: Path) -> None:
    content = trained.read_bytes()
    segmenter = Segmenter(content, segmenters.check(content, "s", Wish(output="logit")))
    images, masks = shapes(50, seed=2)
    found = segmenter.regions(images)

    assert (found & masks).sum() / (found | masks).sum() > 0.9


def test_an_attached_segmenter_measures_what_comes_without_a_region(
    running: Running, trained: Path
) -> None:
    attach(trained)
    running.drain()
    for colour in graphs.CLASSES:
        running.predict(colour)
    running.predict("red", region=square(slice(0, 4), slice(0, 4)))
    running.drain()
    shown = running.client.get(f"{PATH}/segmenter").json()
    audit = running.client.get(f"{PATH}/audit", params={"by": "model"}).json()
    recall = {
        each["source"]: each["estimate"]["value"]
        for each in audit["measures"]
        if each["measure"] == "activation_recall"
    }
    watched = {each.series.source for each in running.audit.watching.watched.values()}

    assert sources(running) == {"segmenter": 3, "client": 1}
    assert {"segmenter", "client"} <= watched
    # The classifier looks at the patch, and the segmenter finds it.
    assert recall["segmenter"] == pytest.approx(recall["client"], abs=0.1)
    assert shown["card"]["spec"]["output"] == "logit"
    assert shown["digest"].startswith("sha256:")
    assert {("segmenter", 3), ("client", 1)} == set(sources(running, "flip").items())
    assert running.audit.segmenter.counts[MODEL, "located"] == 3


def test_a_region_of_the_segmenter_keeps_when_it_was_and_when_it_came(
    running: Running, trained: Path
) -> None:
    attach(trained)
    answered = running.predict()
    running.drain()
    with running.serving.store.require().connected() as connection:
        kinds = {row.kind: row for row in connection.execute(tables.events.select()) if row.kind}
    (measure,) = [each for each in running.rows(tables.measures) if each.name == "chance"]

    assert measure.source == "segmenter"
    assert measure.event_time == kinds["prediction"].event_time
    assert kinds["region"].event_time > kinds["prediction"].event_time
    assert answered["audit"] is None


def test_a_broken_image_stops_nobody(running: Running, trained: Path) -> None:
    attach(trained)
    answered = running.predict()
    running.drain()
    record = replace(prediction(1), region=None)
    record = replace(record, model=replace(record.model, name=MODEL, version=1))
    found = running.audit.segmenter.locate([(record, b"no picture")], now=clock.now())

    assert answered["prediction_id"]
    assert found == []
    assert running.audit.segmenter.counts[MODEL, "failed"] == 1


def test_a_late_region_of_a_client_is_charted_and_feeds_no_second_detector(
    running: Running, trained: Path
) -> None:
    """The detectors count on one source beside the reviewer's."""
    attach(trained)
    running.drain()
    name = running.predict()["prediction_id"]
    running.drain()
    late = {"region": square(slice(0, 4), slice(0, 4)), "source": "client", "stratum": "all"}
    put = running.client.put(f"/v1/predictions/{name}/region", json=late)
    running.drain()
    watched = {
        each.series.source
        for each in running.audit.watching.watched.values()
        if each.series.measure == "activation_recall"
    }

    assert put.status_code == 202
    assert sources(running) == {"segmenter": 1, "client": 1}
    assert watched == {"segmenter"}


def test_only_the_drawn_share_is_segmented(home: Path, trained: Path) -> None:
    running = started(home, segment_share=0.4)
    attach(trained)
    answers = [running.predict() for _ in range(20)]
    running.drain()
    wanted = {each["prediction_id"] for each in answers if sampled(each["prediction_id"], 0.4)}
    seen = {
        each.prediction_id for each in running.rows(tables.measures) if each.source == "segmenter"
    }
    close(running.serving)
    running.audit.ledger.engine.dispose()

    assert wanted == seen


def test_a_template_is_used_where_nothing_better_is_there(running: Running, trained: Path) -> None:
    body = {"polygon": [[0, 0], [0.25, 0], [0.25, 0.25], [0, 0.25]], "actor": "ada"}
    put = running.client.put(f"{PATH}/template-region", json=body)
    with_template = running.predict()
    with_region = running.predict(region=square(slice(8, 12), slice(0, 4)))
    attach(trained)
    with_segmenter = running.predict()
    running.drain()

    assert put.status_code == 200, put.text
    assert put.json()["card"]["area"] == pytest.approx(1 / 16, rel=0.05)
    assert with_template["audit"]["region_source"] == "template"
    assert with_template["audit"]["activation_recall"] > 0.9
    assert with_region["audit"]["region_source"] == "client"
    assert with_segmenter["audit"] is None
    assert sources(running) == {"template": 1, "client": 1, "segmenter": 1}


def test_a_template_from_a_file_can_be_seen_and_taken_back(running: Running, home: Path) -> None:
    file = home / "mask.png"
    file.write_bytes(base64.b64decode(square(slice(0, 8), slice(0, 16))))
    done = CliRunner().invoke(app, ["template-region", MODEL, str(file)])
    mask = running.client.get(f"{PATH}/template-region.png")
    before = running.predict()
    deleted = running.client.request("DELETE", f"{PATH}/template-region")
    after = running.predict()

    assert done.exit_code == 0, done.output
    assert mask.headers["content-type"] == "image/png"
    assert before["audit"]["chance"] == pytest.approx(0.5)
    assert deleted.status_code == 204
    assert after["audit"] is None
    assert running.client.get(f"{PATH}/template-region").status_code == 404
    assert running.client.request("DELETE", f"{PATH}/template-region").status_code == 409


def test_another_template_begins_its_watches_anew_and_says_so(running: Running) -> None:
    def put(right: float) -> None:
        corners = [[0, 0], [right, 0], [right, 0.25], [0, 0.25]]
        running.client.put(f"{PATH}/template-region", json={"polygon": corners})
        running.predict()
        running.drain()

    def warming() -> list[int]:
        return [
            len(each.warming)
            for each in running.audit.watching.watched.values()
            if each.series.source == "template" and each.series.measure == "relevance_mass"
        ]

    put(0.25)
    running.predict()
    running.drain()
    before = warming()
    put(0.5)

    assert before == [2] * len(before)
    assert set(warming()) == {1}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"polygon": [[0, 0], [1, 1]]},
        {"polygon": [[0, 0], [2, 0], [1, 1]]},
        {"polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]},
        {"region": "no base64"},
        {"region": square(slice(0, 1), slice(0, 1)), "polygon": [[0, 0], [1, 0], [0, 1]]},
    ],
)
def test_a_template_that_says_nothing_is_refused(running: Running, body) -> None:
    reply = running.client.put(f"{PATH}/template-region", json=body)

    assert reply.status_code == 422, reply.text
    assert reply.headers["content-type"] == "application/problem+json"


def test_what_is_no_segmenter_is_refused_in_one_line(running: Running, home: Path) -> None:
    version = running.serving.registry.champion(MODEL).folder / "predict.onnx"
    (home / "classifier.onnx").write_bytes(version.read_bytes())
    done = CliRunner().invoke(app, ["attach-segmenter", MODEL, str(home / "classifier.onnx")])

    assert done.exit_code == 1
    assert "needed is one image and one answer" in done.output
    assert running.client.get(f"{PATH}/segmenter").status_code == 404


def test_a_late_region_of_a_program_does_not_replace_a_persons() -> None:
    from services.retraining.data import collecting  # noqa: PLC0415 - loads training code
    from tests.entries import START, identifier, prediction, region  # noqa: PLC0415

    record = replace(prediction(1), region=None)

    def said(number: int, source: records.RegionSource, actor: str) -> records.RegionEvent:
        evidence = region(number, source)
        return records.RegionEvent(identifier(number), START, identifier(1), evidence, actor)

    label = records.LabelEvent(identifier(9), START, identifier(1), "7", "ada")
    told = collecting._settled(
        record, [said(2, "reviewer", "ada"), said(3, "segmenter", "segmenter"), label]
    )

    assert told is not None
    assert told.region_by == "ada"
