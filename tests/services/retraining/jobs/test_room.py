"""What cannot fit is refused beforehand, with what is missing."""

from pathlib import Path

from services.retraining.files import Folder
from services.retraining.jobs import room
from services.retraining.jobs.room import Room


def test_what_fits_is_not_refused() -> None:
    assert room.shortage(Room(100, 100), Room(200, 200), 100) == ""
    assert room.shortage(Room(100, 10**15), Room(200, None), 100) == ""


def test_what_is_missing_is_named_with_the_figures() -> None:
    said = room.shortage(Room(2 * 10**9, 10**9), Room(10**9, 10**8), 5 * 10**8)

    assert said == (
        "disk: about 2.0 GB are needed and 0.5 GB must stay free, but 1.0 GB are free; "
        "memory: about 1.0 GB are needed and 0.5 GB must stay free, but 0.1 GB are free"
    )


def test_more_data_and_larger_weights_need_more(tmp_path: Path) -> None:
    def asked(data: int, weights: int) -> Room:
        for name in ("training", "validation", "locked"):
            (tmp_path / f"{name}.npz").write_bytes(bytes(data))
        (tmp_path / "weights").write_bytes(bytes(weights))
        return room.needed(Folder(tmp_path), tmp_path / "weights")

    small, data, weights = asked(1000, 1000), asked(2000, 1000), asked(1000, 2000)
    assert data.memory - small.memory == 6000
    assert data.disk == small.disk
    assert weights.disk == 2 * small.disk
    assert weights.memory > small.memory


def test_this_machine_says_what_is_free(tmp_path: Path) -> None:
    found = room.free(tmp_path)

    assert found.disk > 0
    assert found.memory is not None
    assert found.memory > 0


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    monkeypatch.setattr(room, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(room, "_CGROUP", tmp_path)

    assert room.free(tmp_path).memory == 4_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert room.free(tmp_path).memory == 8_192_000
