"""The journal benchmark in a tiny size: every append is counted and ends on the disk."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from audit import records

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def parts(monkeypatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import journal  # noqa: PLC0415 - lies beside the package

    yield journal
    sys.modules.pop("journal")


def test_every_way_appends_the_same_entries(tmp_path: Path, parts) -> None:
    entries = parts.entry_bytes(4)
    rows = parts.measure(tmp_path, entries, 2, appends=16)

    assert [1, 1, *[parts.THREADS] * 3] == [each.threads for each in rows]
    assert all(0 < each.p50 <= each.p99 for each in rows)
    assert all(each.per_second > 0 for each in rows)
    for folder in tmp_path.iterdir():
        written = b"".join(path.read_bytes() for path in folder.iterdir())
        assert 16 == sum(written.count(each) for each in entries)


def test_the_entries_are_records(parts) -> None:
    [entry] = parts.entry_bytes(1)

    assert isinstance(records.from_bytes(entry), records.PredictionRecord)
