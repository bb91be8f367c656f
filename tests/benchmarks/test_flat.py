"""What `--json FILE` of a benchmark writes."""

import json
from pathlib import Path

import pytest


def test_figures_are_written_as_one_flat_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend("benchmarks")
    import flat  # noqa: PLC0415 - importable only with the path above

    found = {"rows": [{"name": "a", "x": 1}, {"x": [2, 3]}], "y": 0.5}
    flat.write(tmp_path / "figures.json", found)
    written = json.loads((tmp_path / "figures.json").read_text())

    assert written == {
        "rows.a.name": "a",
        "rows.a.x": 1,
        "rows.1.x.0": 2,
        "rows.1.x.1": 3,
        "y": 0.5,
    }


def test_nothing_is_written_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend("benchmarks")
    import flat  # noqa: PLC0415 - as above

    flat.write(None, {"x": 1})
