"""`rightly train`, `evaluate` and `compare`, from a folder of images to a page."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from models.training import datasets, planting
from models.types import Preprocessing
from services.commands import terminal
from services.commands.cli import app

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
    monkeypatch.setenv("COLUMNS", "120")
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
    assert {"value", "low", "high"} < card["random_cue"].keys()
    for words in ("random-cue accuracy", "reversed-cue accuracy", "shift, swap"):
        assert words in table
        assert words in (home / "page.html").read_text("utf-8")
    assert "lamp@2" in both
    page = (home / "page.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") == 12
    assert "http" not in page
    assert (home / "second" / "recipe.toml").read_text().count("weight = 5")


def test_a_training_that_collapsed_is_said_and_not_filed(home: Path) -> None:
    """Nothing tells the classes of these images apart, so one is given to all of them."""
    draw = np.random.default_rng(0)
    lines = ["path,label,split"]
    for number in range(24):
        grey = draw.integers(100, 102, (28, 28, 3)).astype(np.uint8)
        Image.fromarray(grey).save(home / f"{number}.png")
        split = "train" if number < 16 else "val"
        lines.append(f"{number}.png,{'one' if number % 2 else 'two'},{split}")
    (home / "manifest.csv").write_text("\n".join(lines))
    common = ("train", "--data", str(home), "--set", "epochs=1", "--set", "learning_rate=1e-9")
    common = (*common, "--set", "batch_size=8", "--height", "32", "--width", "36")
    alone = RUN.invoke(app, [*common, "--to", "first"])
    filed = RUN.invoke(app, [*common, "--to", "second", "--name", "lamp"])

    assert (alone.exit_code, filed.exit_code) == (0, 1)
    assert "warning: the training collapsed" in alone.stderr
    assert "error: it is not filed: the training collapsed" in filed.stderr
    assert "epoch 1 of 1, loss" in alone.stderr  # in a pipe there are lines instead of a bar
    recipe = (home / "first" / "recipe.toml").read_text()
    assert "height = 32" in recipe
    assert "width = 36" in recipe


def test_a_written_recipe_trains_the_same_again(folder: Path, home: Path) -> None:
    run("train", "--data", str(folder), "--set", "epochs=1", "--to", "first")
    run("train", "--recipe", "first/recipe.toml", "--to", "second")
    weights = [(home / each / "weights.safetensors").read_bytes() for each in ("first", "second")]

    assert weights[0] == weights[1]


@pytest.mark.parametrize("test", ["random", "reversed", "same", "none"])
def test_a_cue_that_stands_with_the_first_class_is_tested_as_it_was_planted(
    folder: Path, home: Path, test: str
) -> None:
    """One hue everywhere: another would be a cue that no training row has shown."""
    run("plant", "--data", str(folder), "--to", "marked", "--told", "presence", "--test", test,
        "--kind", "border", "--side", "28")  # fmt: skip
    rows = datasets.load_splits(
        datasets.read_folder(home / "marked"), Preprocessing(28, 28, (0.5,) * 3, (0.5,) * 3)
    )
    red = {
        name: (each.images[:, 0, 0] == (230, 40, 40)).all(axis=1) for name, each in rows.items()
    }
    hues = {tuple(pixel) for pixel in rows["test"].images[~red["test"]][:, 0, 0]}
    shares = [red["test"][rows["test"].labels == label].mean() for label in (0, 1)]

    assert (red["train"] == (rows["train"].labels == 0)).all()
    assert not hues & set(planting._HUES)
    if test == "random":
        assert all(0 < each < 1 for each in shares)
    else:
        assert shares == {"reversed": [0, 1], "same": [1, 0], "none": [0, 0]}[test]


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


@pytest.mark.filterwarnings("default:rrr keeps batch normalisation")
def test_a_warning_is_a_line_for_people(folder: Path, home: Path) -> None:
    (home / "recipe.toml").write_text(
        f'data = "{folder}"\nobjective = "rrr"\narchitecture = "resnet18"\nheight = 32\n'
        "[training]\nepochs = 1\n"
    )
    done = RUN.invoke(app, ["train", "--recipe", "recipe.toml", "--to", "frozen"])

    assert done.exit_code == 0
    assert "warning: rrr keeps batch normalisation at its statistics" in done.stderr
    assert "trainer.py" not in done.stderr


@pytest.mark.usefixtures("home")
def test_a_search_is_written_down_and_not_done_again(folder: Path, home: Path) -> None:
    pytest.importorskip("optuna", reason="pip install 'rightly[search]'")
    asked = (
        "train",
        "--data",
        str(folder),
        "--objective",
        "rrr",
        "--search",
        "2",
        "--to",
        "found",
    )
    run(*asked, "--set", "epochs=1")
    told = json.loads((home / "found" / "search.json").read_text())
    weights = (home / "found" / "weights.safetensors").read_bytes()
    history = (home / "found" / "search.json").stat().st_mtime_ns
    run(*asked, "--set", "epochs=1")

    assert [each["chosen"] for each in told["trials"]].count(True) == 1
    assert all(each["learning_rate"] > 0 and each["failed"] == "" for each in told["trials"])
    chosen = next(each for each in told["trials"] if each["chosen"])
    assert f"weight = {chosen['weight']}" in (home / "found" / "recipe.toml").read_text()
    assert (home / "found" / "weights.safetensors").read_bytes() == weights
    assert (home / "found" / "search.json").stat().st_mtime_ns == history


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT interrupt, also where the tests run in the background and it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_the_first_signal_is_an_answer_and_the_second_an_end() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with terminal.stoppable() as should_stop:
        answers = [should_stop()]
        signal.raise_signal(signal.SIGINT)
        answers.append(should_stop())
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    assert answers == [False, True]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_stopped_says_how_it_goes_on(
    folder: Path, home: Path, number: signal.Signals
) -> None:
    common = ("train", "--data", str(folder), "--set", "batch_size=8")
    command = "from services.commands.cli import main; main()"
    done = subprocess.Popen(
        [sys.executable, "-c", command, *common, "--set", "epochs=100000", "--to", "half"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    values = home / "half" / "checkpoint" / "training.json"
    until = time.monotonic() + 60
    while not values.is_file() and done.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    done.send_signal(number)
    output, errors = done.communicate(timeout=60)
    epoch = json.loads(values.read_text())["epoch"]
    more = ("--set", f"epochs={epoch + 1}")
    run(*common, *more, "--to", "half")
    run(*common, *more, "--to", "whole")
    weights = [(home / each / "weights.safetensors").read_bytes() for each in ("half", "whole")]

    assert done.returncode == 130, errors
    expected = f"stopped; half/checkpoint holds epoch {epoch}: the same command goes on from there"
    assert output.strip() == expected
    assert weights[0] == weights[1]
