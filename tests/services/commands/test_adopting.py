"""`rightly models adopt`, and an answer of what was adopted."""

import numpy as np
import pytest
from typer.testing import CliRunner

from services import wiring
from services.commands.cli import app
from services.settings import Settings
from services.web import rest
from tests.models import test_adoption as theirs
from tests.services.routes.test_audit_routes import Client, close, png

WORDS = ["--name", "theirs", "--classes", "a,b,c", "--height", "12", "--width", "12"]


@pytest.mark.parametrize(
    ("pooling", "said", "explainer"),
    [
        ("GlobalAveragePool", "class activation map, exact", "gradcam"),
        ("GlobalMaxPool", "an answer takes 17 passes", "occlusion"),
    ],
)
def test_an_adopted_file_answers_and_is_measured(
    tmp_path, monkeypatch, pooling, said, explainer
) -> None:
    monkeypatch.setenv("RIGHTLY_HOME", str(tmp_path))
    nodes = [*theirs.features(pooling), theirs.node("MatMul", ["flat", "weights"], "y")]
    file = theirs.write(tmp_path / "theirs.onnx", nodes)
    done = CliRunner().invoke(app, ["models", "adopt", str(file), *WORDS])

    assert 0 == done.exit_code, done.output
    assert said in " ".join(done.output.split())
    chosen = Settings(home=tmp_path, registry=tmp_path / "registry", device="cpu", threads=1)
    serving = wiring.connect(chosen)
    application = rest.create()
    rest.connect(application, serving)
    region = np.zeros((12, 12), np.uint8)
    region[:6] = 255
    body = {"image": png(theirs.IMAGES[0]), "region": png(region)}
    reply = Client(application).post("/v1/models/theirs/predictions", json=body)
    close(serving)
    [answer] = reply.json()["predictions"]

    assert explainer == answer["explanation"]["explainer"]
    assert 0.0 <= answer["audit"]["relevance_mass"] <= 1.0


@pytest.mark.parametrize("wrong", [["--mean", "a"], ["--std", "0"], ["--mean", "1,2"]])
def test_numbers_that_are_none_are_said_so(tmp_path, wrong) -> None:
    done = CliRunner().invoke(app, ["models", "adopt", str(tmp_path / "x.onnx"), *WORDS, *wrong])

    assert 1 == done.exit_code
    assert "one number, or three" in " ".join(done.output.split())
