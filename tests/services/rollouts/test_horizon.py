"""Until when the evidence is complete, as the journal's files and the store's places say."""

from datetime import timedelta
from pathlib import Path

from audit.journal import reader
from audit.journal.lines import Place, Segment
from audit.journal.writer import Writer
from services.rollouts.horizon import Horizon
from tests.entries import START

ENTRY = b'{"kind":"none"}'


def after(seconds: float):  # noqa: ANN201 - a datetime
    return START + timedelta(seconds=seconds)


def ingested(folder: Path) -> dict[str, Place]:
    """Up to where an auditor that reads everything has come."""
    return {place.segment.source: place for _, place in reader.read(folder, {})}


def test_nothing_is_known_without_a_journal_or_before_a_look(tmp_path: Path) -> None:
    horizon = Horizon(tmp_path / "journal", START)
    horizon.mark(START)
    assert horizon.reach({}) is None

    (tmp_path / "journal").mkdir()
    assert horizon.reach({}) is None
    horizon.mark(after(1))
    assert after(1) == horizon.reach({})
    assert after(1) == horizon.until


def test_a_moment_is_known_once_everything_written_by_then_is_ingested(tmp_path: Path) -> None:
    horizon, first, second = (
        Horizon(tmp_path, START), Writer(tmp_path, "a"), Writer(tmp_path, "b"),
    )  # fmt: skip
    first.append([ENTRY])
    before = ingested(tmp_path)
    horizon.mark(after(1))
    first.append([ENTRY])
    horizon.mark(after(2))
    second.append([ENTRY])
    horizon.mark(after(3))
    behind = ingested(tmp_path)
    del behind["b"]

    assert after(1) == horizon.reach(before)
    assert after(2) == horizon.reach(behind)
    assert after(3) == horizon.reach(ingested(tmp_path))
    # Another thread that has read the store before; and a store that was put back.
    assert after(1) == horizon.reach(before)
    assert after(3) == horizon.until
    assert horizon.reach({}) is None
    first.close()
    second.close()


def test_a_later_segment_covers_an_earlier_one_of_any_length(tmp_path: Path) -> None:
    horizon, writer = Horizon(tmp_path, START), Writer(tmp_path, "a")
    writer.append([ENTRY])
    horizon.mark(after(1))
    writer.close()

    assert horizon.reach({"a": Place(Segment("a", 1), 1, 0)}) is None
    assert after(1) == horizon.reach({"a": Place(Segment("a", 2), 1, 0)})


def test_a_clock_that_went_back_makes_what_it_said_before_unknown(tmp_path: Path) -> None:
    horizon, writer = Horizon(tmp_path, START), Writer(tmp_path, "a")
    horizon.mark(after(1e6))
    horizon.reach({})
    assert after(1e6) == horizon.until
    writer.append([ENTRY])
    horizon.mark(after(2))

    assert horizon.until is None
    assert horizon.reach({}) is None
    assert after(2) == horizon.reach(ingested(tmp_path))
    writer.close()


def test_a_long_wait_keeps_the_oldest_look_and_the_newest(tmp_path: Path) -> None:
    horizon, writer = Horizon(tmp_path, START), Writer(tmp_path, "a")
    writer.append([ENTRY])
    known = ingested(tmp_path)
    horizon.mark(after(0))
    writer.append([ENTRY])
    for number in range(1, 1000):
        horizon.mark(after(number))
    writer.close()

    assert len(horizon._marks) <= 256
    assert after(0) == horizon.reach(known)
    assert after(999) == horizon.reach(ingested(tmp_path))
