"""The papers' recipes: every one is read, cells are kept, and the page says what was not run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = """
title = "A paper"
reference = "Somebody (2020)"
claim = "It works."

[[table]]
name = "iris"
title = "Iris beside breast cancer"
task = "D6"
lead = "Read this first."

[table.figures]
accuracy = "tests.clean.accuracy"
epochs = "#recipe.config.epochs"

[[table.row]]
name = "ERM"
published = "81.1"
seeds = 2
training = { epochs = 3, clip = 1.0 }

[[table.row]]
name = "RRR"
objective = "rrr"
options = { weight = 1.0 }
differs = "another split"
"""


def papers(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "benchmarks/papers.py", *arguments],
        check=check, capture_output=True, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "paper.toml").write_text(RECIPE)
    return ("--recipes", str(tmp_path / "recipes"), "--results", str(tmp_path / "cells"))


@pytest.mark.slow
def test_a_cell_is_computed_once_and_the_page_says_what_was_not_run(
    folders: tuple[str, ...], tmp_path: Path
) -> None:
    asked = (*folders, "--row", "ERM", "--seed", "0")
    first, again = papers(*asked), papers(*asked)
    missing = papers(*folders, "--list").stdout.splitlines()
    papers(*folders, "--page", str(tmp_path / "page.md"))
    lines = (tmp_path / "page.md").read_text().splitlines()
    rows = {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}

    assert "paper, iris: ERM, seed 0" in first.stderr
    assert again.stderr == ""
    assert missing == ["paper, iris: RRR, seed 0", "paper, iris: ERM, seed 1"]
    assert rows["ERM"].split("|")[3:6] == [" 3.00 ", " 1 ", " 81.1 "]
    assert rows["RRR"].endswith("| not run | not run | 0 |  | another split |")
    assert {"## A paper", "It works.", "Read this first."} <= set(lines)


@pytest.mark.slow
def test_a_recipe_that_names_what_no_method_has_says_so(
    folders: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "recipes" / "paper.toml"
    path.write_text(RECIPE.replace("options =", "opinions ="))

    assert "the row 'RRR' has 'opinions'" in papers(*folders, "--list", check=False).stderr


@pytest.mark.slow
def test_every_recipe_is_read_and_the_page_in_the_docs_is_made_from_them(tmp_path: Path) -> None:
    papers("--page", str(tmp_path / "papers.md"))

    assert (tmp_path / "papers.md").read_text() == (ROOT / "docs" / "papers.md").read_text()
