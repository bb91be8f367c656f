"""Every command of the page about learning runs, in its order."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from typer.testing import CliRunner

from models.training import datasets
from models.training.running import NAMES
from services.commands import cli

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "learn.md").read_text("utf-8")


def brightest(path: Path) -> None:
    """Write a segmenter that takes the brightness of a pixel for its probability."""
    shapes = (("x", ["n", 3, 28, 28]), ("y", ["n", 1, 28, 28]))
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    node = helper.make_node("ReduceMax", ["x", "axes"], ["y"], keepdims=1)
    graph = helper.make_graph([node], "brightest", values[:1], values[1:], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the data set that the page speaks of."""
    draw = np.random.default_rng(0)
    lines = ["path,label,region,split,group"]
    region = np.zeros((28, 28), np.uint8)
    region[6:22, 6:22] = 255
    (tmp_path / "lamps").mkdir()
    Image.fromarray(region).save(tmp_path / "lamps" / "region.png")
    for number in range(40):
        base = 120 * (number % 2)
        pixels = draw.integers(base, base + 100, (28, 28, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "lamps" / f"{number}.png")
        split = "train" if number < 20 else "val" if number < 30 else "test"
        group = "left" if number % 4 < 2 else "right"
        lines.append(f"{number}.png,{'on' if base else 'off'},region.png,{split},{group}")
    (tmp_path / "lamps" / "manifest.csv").write_text("\n".join(lines))
    shutil.copytree(tmp_path / "lamps", tmp_path / "plain-lamps")
    brightest(tmp_path / "segmenter.onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIGHTLY_HOME", str(tmp_path / "var"))
    return tmp_path


def test_every_command_of_the_page_runs(place: Path) -> None:
    for command in re.findall(r"^\$ rightly (.*)$", PAGE, re.MULTILINE):
        done = CliRunner().invoke(cli.app, shlex.split(command))

        assert done.exit_code == 0, f"{command}\n{done.output}"
    assert (place / "page.html").is_file()
    rows = datasets.read_folder(place / "marked")
    assert {each.group for each in rows if each.split == "train"} == {"cue agrees"}
    assert {each.group for each in rows if each.split == "test"} == {
        "cue agrees",
        "cue disagrees",
    }


def test_every_objective_is_in_the_page() -> None:
    assert all(f"`{name}`" in PAGE for name in NAMES)
