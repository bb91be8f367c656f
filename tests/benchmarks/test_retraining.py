"""The retraining benchmark in its smallest size: cells are kept and not computed twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def benchmark(*arguments: str, results: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/retraining.py", "--results", str(results), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment
    )


@pytest.mark.slow
def test_a_cell_is_computed_once_and_carries_its_recipe(tmp_path: Path) -> None:
    asked = ("--task", "D6", "--seeds", "1", "--method", "ERM", "--method", "RRR")
    first = benchmark(*asked, "--json", str(tmp_path / "first.json"), results=tmp_path)
    again = benchmark(*asked, "--json", str(tmp_path / "again.json"), results=tmp_path)
    cells = [json.loads(path.read_text()) for path in sorted((tmp_path / "D6").glob("*.json"))]

    assert "RRR, seed 0" in first.stderr
    assert again.stderr == ""
    assert first.stdout == again.stdout
    assert (tmp_path / "first.json").read_text() == (tmp_path / "again.json").read_text()
    assert [each["method"] for each in cells] == ["ERM", "RRR"]
    assert cells[1]["recipe"]["options"] == {"weight": 10.0}
    assert cells[1]["recipe"]["config"]["criterion"] == "last"
    assert cells[0]["versions"].keys() == {"torch", "numpy"}
    assert {"correlated", "clean"} <= cells[0]["tests"].keys()


@pytest.mark.slow
def test_the_quick_table_has_controls_beside_every_method(tmp_path: Path) -> None:
    chosen = ("ERM", "RRR, no masks", "RRR, displaced masks", "trained without the cue")
    asked = [word for each in chosen for word in ("--method", each)]
    done = benchmark("--quick", "--task", "A-digits", *asked, results=tmp_path)
    lines = {line[:34].strip(): line[34:] for line in done.stdout.splitlines() if line}

    assert set(chosen) <= lines.keys()
    # No masks must be ERM: the same five accuracies, whatever the seconds.
    assert lines["RRR, no masks"][:75] == lines["ERM"][:75]
    assert not list(tmp_path.iterdir())
