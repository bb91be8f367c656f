"""A disk that is really full, or really read-only: a strict journal refuses, and recovers."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.errors import JournalUnavailableError
from audit.journal import reader
from audit.journal.writer import Writer

pytestmark = pytest.mark.system


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """One mebibyte of disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("mounting a small disk needs more rights than this process has")
    yield place
    subprocess.run(["umount", place], check=True)
    shutil.rmtree(place)


def entry(number: int) -> bytes:
    return b'{"n":%d,"pad":"%s"}' % (number, b"x" * 5000)


def fill(journal: Writer, acknowledged: list[bytes]) -> None:
    for number in range(1000):
        journal.append([entry(number)])
        acknowledged.append(entry(number))


@pytest.mark.parametrize("durability", ["fsync", "group", "os"])
def test_a_full_disk_fails_closed_and_loses_nothing(disk: Path, durability: str) -> None:
    acknowledged = []
    with Writer(disk / "journal", "a", durability=durability, reserve_bytes=0) as journal:
        with pytest.raises(JournalUnavailableError, match="No space left"):
            fill(journal, acknowledged)
        with pytest.raises(JournalUnavailableError):
            journal.append([entry(1000)])
        found = [each for each, _ in reader.read(disk / "journal", {})]

    assert acknowledged == found
    assert 100 < len(found) < 250


def test_a_nearly_full_disk_refuses_before_it_is_full(disk: Path) -> None:
    with (
        Writer(disk / "journal", "a", reserve_bytes=500_000) as journal,
        pytest.raises(JournalUnavailableError, match="room left"),
    ):
        fill(journal, [])


def test_a_read_only_disk_fails_closed_and_later_goes_on(disk: Path) -> None:
    with Writer(disk / "journal", "a", reserve_bytes=0) as journal:
        journal.append([entry(1)])
        journal.close()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(JournalUnavailableError, match="Read-only"):
            journal.append([entry(2)])
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        journal.append([entry(3)])

    assert [entry(1), entry(3)] == [each for each, _ in reader.read(disk / "journal", {})]
