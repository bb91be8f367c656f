"""`rightly train`, `evaluate` and `compare`, from a folder of images to a page."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from services.cli import app

RUN = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright and dark images with a manifest, regions and groups."""
    root = tmp_path_factory.mktemp("set")
    draw = np.random.default_rng(0)
    lines = ["path,label,region,split,group"]
    region = np.zeros((28, 28), np.uint8)
    region[6:22, 6:22] = 255
    Image.fromarray(region).save(root / "region.png")
    for number in range(48):
        label = "bright" if number % 2 else "dark"
        base = 120 if number % 2 else 0
        pixels = draw.integers(base, base + 100, (28, 28, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
        split = "train" if number < 24 else "val" if number < 36 else "test"
        group = "even" if number % 4 < 2 else "odd"
        lines.append(f"{number}.png,{label},region.png,{split},{group}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIGHTLY_HOME", str(tmp_path / "var"))
    return tmp_path


def run(*arguments: str) -> str:
    done = RUN.invoke(app, list(arguments))

    assert done.exit_code == 0, done.output
    return done.stdout


def test_from_images_to_two_versions_compared(folder: Path, home: Path) -> None:
    common = (
        "--data",
        str(folder),
        "--set",
        "epochs=2",
        "--set",
        "batch_size=8",
        "--name",
        "lamp",
    )
    run("train", *common, "--to", "first")
    run("train", *common, "--to", "second", "--objective", "rrr", "--option", "weight=5")
    card = json.loads(run("evaluate", "lamp@2", "--data", str(folder), "--json"))
    table = run("evaluate", "lamp", "--data", str(folder), "--html", "page.html")
    both = run("compare", "lamp@1", "lamp@2", "--data", str(folder))

    assert card["model"] == "lamp@2"
    assert card["observations"] == 12
    assert 0 <= card["focus"]["relevance_mass"]["value"] <= 1
    assert card["per_group"].keys() == {"even", "odd"}
    assert "Activation Recall" in table
    assert "lamp@2" in both
    page = (home / "page.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") == 12
    assert "http" not in page
    assert (home / "second" / "recipe.toml").read_text().count("weight = 5")


def test_a_written_recipe_trains_the_same_again(folder: Path, home: Path) -> None:
    run("train", "--data", str(folder), "--set", "epochs=1", "--to", "first")
    run("train", "--recipe", "first/recipe.toml", "--to", "second")
    weights = [(home / each / "weights.safetensors").read_bytes() for each in ("first", "second")]

    assert weights[0] == weights[1]


@pytest.mark.usefixtures("home")
def test_refusals_are_one_line(folder: Path) -> None:
    for arguments, words in (
        (["train", "--data", str(folder), "--objective", "magic"], "'magic' is none of"),
        (["train", "--data", "nowhere"], "neither manifest.csv"),
        (["train", "--data", str(folder), "--option", "weight"], "not NAME=VALUE"),
        (["evaluate", "lamp@two", "--data", str(folder)], "neither NAME nor NAME@VERSION"),
    ):
        done = RUN.invoke(app, arguments)

        assert done.exit_code == 1
        assert words in done.stderr
