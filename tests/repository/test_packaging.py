"""The lists that must agree: pyproject.toml, bentofile.yaml, the Makefile and the README."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def bento_packages() -> list[str]:
    return yaml.safe_load((ROOT / "bentofile.yaml").read_text())["python"]["packages"]


def test_the_bento_needs_the_core_and_one_onnx_runtime() -> None:
    expected = [*PROJECT["dependencies"], "onnxruntime-gpu>=1.22,<2"]

    assert sorted(bento_packages()) == sorted(expected)


def test_serving_installs_neither_torch_nor_two_runtimes() -> None:
    names = [re.split(r"[<>=\[]", each)[0] for each in PROJECT["dependencies"]]

    assert not {"torch", "torchvision", "onnxruntime", "onnxruntime-gpu"} & set(names)


def test_every_dependency_has_its_reason_beside_it() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    core = text.split("dependencies = [", 1)[1].split("\n]", 1)[0]

    assert [line for line in core.splitlines() if line.strip() and "#" not in line] == []


@pytest.mark.parametrize(
    "verb",
    ["help", "up", "doctor", "test", "check", "serve", "bench", "default-model", "bento", "image"],
)
def test_the_makefile_documents_each_verb(verb: str) -> None:
    assert re.search(rf"^{verb}:.*## \w", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_readme_shows_the_two_commands_first() -> None:
    first = (ROOT / "README.md").read_text().split("```", 2)[1]

    assert "make up" in first
    assert "make test" in first
