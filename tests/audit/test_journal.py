"""The journal: what was acknowledged is there, whole and in order, or the reader says so."""

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import JournalError, JournalUnavailableError
from audit.journal import lines, reader, writer
from audit.journal.background import BackgroundWriter
from audit.journal.writer import Writer


def entry(number: int, size: int = 0) -> bytes:
    return b'{"n":%d,"pad":"%s"}' % (number, b"x" * size)


def entries(folder: Path, after: dict[str, lines.Place] | None = None) -> list[bytes]:
    return [each for each, _ in reader.read(folder, after or {})]


@pytest.mark.parametrize("durability", ["fsync", "group", "os"])
def test_entries_come_back_in_order(tmp_path, durability) -> None:
    with Writer(tmp_path, "a", durability=durability) as journal:
        for number in range(0, 20, 2):
            journal.append([entry(number), entry(number + 1)])

        assert [entry(number) for number in range(20)] == entries(tmp_path)


def test_segments_roll_and_count(tmp_path) -> None:
    with Writer(tmp_path, "a", segment_bytes=300) as journal:
        for number in range(20):
            journal.append([entry(number, 50)])

    assert [1, 2, 3, 4, 5, 6, 7][:3] == [each.number for each in lines.segments(tmp_path)][:3]
    assert [entry(number, 50) for number in range(20)] == entries(tmp_path)


def test_reading_goes_on_from_a_place(tmp_path) -> None:
    with Writer(tmp_path, "a", segment_bytes=300) as journal:
        for number in range(20):
            journal.append([entry(number, 50)])
    for stop in range(20):
        read = list(reader.read(tmp_path, {}))[: stop + 1]

        rest = entries(tmp_path, {"a": read[-1][1]})

        assert [entry(number, 50) for number in range(stop + 1, 20)] == rest


def test_two_sources_are_read_one_after_the_other(tmp_path) -> None:
    with Writer(tmp_path, "b") as second, Writer(tmp_path, "a") as first:
        second.append([entry(2)])
        first.append([entry(1)])
        second.append([entry(3)])

    assert [entry(1), entry(2), entry(3)] == entries(tmp_path)


def test_a_last_line_torn_at_any_byte_is_dropped(tmp_path) -> None:
    with Writer(tmp_path, "a") as journal:
        journal.append([entry(1), entry(2)])
    path = tmp_path / lines.segments(tmp_path)[0].name
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        path.write_bytes(whole[:length])

        assert [entry(1)] == entries(tmp_path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_changed_byte_of_a_whole_line_is_found(tmp_path_factory, data) -> None:
    folder = tmp_path_factory.mktemp("journal")
    with Writer(folder, "a", durability="os") as journal:
        journal.append([entry(number) for number in range(5)])
    path = folder / lines.segments(folder)[0].name
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1).filter(lambda i: whole[i : i + 1] != b"\n"))
    whole[place] ^= data.draw(st.integers(1, 255).filter(lambda x: whole[place] ^ x != 10))
    path.write_bytes(whole)

    with pytest.raises(JournalError, match="altered"):
        entries(folder)


@pytest.mark.parametrize("change", ["delete", "swap", "repeat"])
def test_moved_or_missing_lines_are_found(tmp_path, change) -> None:
    with Writer(tmp_path, "a") as journal:
        journal.append([entry(number) for number in range(5)])
    path = tmp_path / lines.segments(tmp_path)[0].name
    kept = path.read_bytes().splitlines(keepends=True)
    if change == "delete":
        del kept[2]
    elif change == "swap":
        kept[1], kept[2] = kept[2], kept[1]
    else:
        kept.insert(2, kept[1])
    path.write_bytes(b"".join(kept))

    with pytest.raises(JournalError, match="altered"):
        entries(tmp_path)


def test_a_missing_segment_is_found(tmp_path) -> None:
    with Writer(tmp_path, "a", segment_bytes=10) as journal:
        for number in range(4):
            journal.append([entry(number)])
    (tmp_path / lines.Segment("a", 2).name).unlink()

    with pytest.raises(JournalError, match="number"):
        entries(tmp_path)


def test_a_deleted_segment_that_was_read_is_not_missed(tmp_path) -> None:
    with Writer(tmp_path, "a", segment_bytes=10) as journal:
        for number in range(4):
            journal.append([entry(number)])
    place = list(reader.read(tmp_path, {}))[1][1]
    for segment in reader.finished(tmp_path, {"a": place}):
        (tmp_path / segment.name).unlink()

    assert [3, 4] == [each.number for each in lines.segments(tmp_path)]
    assert [entry(2), entry(3)] == entries(tmp_path, {"a": place})


def test_a_segment_that_is_written_is_not_finished(tmp_path) -> None:
    with Writer(tmp_path, "a") as journal:
        journal.append([entry(1)])
        place = list(reader.read(tmp_path, {}))[-1][1]

        assert [] == reader.finished(tmp_path, {"a": place})

    assert [lines.Segment("a", 1)] == reader.finished(tmp_path, {"a": place})


def test_a_writer_that_died_before_its_first_line_leaves_nothing_behind(tmp_path) -> None:
    (tmp_path / lines.Segment("dead", 1).name).write_bytes(b'{"check":"00')
    with Writer(tmp_path, "living") as journal:
        journal.append([entry(1)])

        assert [lines.Segment("dead", 1)] == reader.finished(tmp_path, {})


def test_a_writer_that_died_at_the_start_of_a_segment_leaves_nothing_behind(tmp_path) -> None:
    with Writer(tmp_path, "a", segment_bytes=10) as journal:
        journal.append([entry(1)])
    place = list(reader.read(tmp_path, {}))[-1][1]
    (tmp_path / lines.Segment("a", 2).name).write_bytes(b'{"check":"00')

    assert [1, 2] == [each.number for each in reader.finished(tmp_path, {"a": place})]


@pytest.mark.parametrize("name", ["fdatasync", "fsync"])
def test_a_writer_that_fails_at_once_leaves_no_gap(tmp_path, monkeypatch, name) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with Writer(tmp_path, "a") as journal:
        monkeypatch.setattr(writer.os, name, broken)
        for _ in range(3):
            with pytest.raises(JournalUnavailableError):
                journal.append([entry(1)])
        monkeypatch.undo()
        assert [] == lines.segments(tmp_path)
        journal.append([entry(2)])

    assert [entry(2)] == entries(tmp_path)


def test_an_unread_line_keeps_its_segment(tmp_path) -> None:
    with Writer(tmp_path, "a") as journal:
        journal.append([entry(1), entry(2)])
    place = next(reader.read(tmp_path, {}))[1]

    assert [] == reader.finished(tmp_path, {"a": place})


def test_pending_counts_unread_bytes(tmp_path) -> None:
    with Writer(tmp_path, "a", segment_bytes=10) as journal:
        journal.append([entry(1)])
        journal.append([entry(2)])
    places = [place for _, place in reader.read(tmp_path, {})]
    sizes = [(tmp_path / each.name).stat().st_size for each in lines.segments(tmp_path)]

    assert sum(sizes) == reader.pending(tmp_path, {})
    assert sizes[1] == reader.pending(tmp_path, {"a": places[0]})
    assert reader.pending(tmp_path, {"a": places[1]}) == 0


def test_concurrent_calls_share_a_sync(tmp_path, monkeypatch) -> None:
    """Group commit: while one call syncs, the others gather and go together."""
    syncs: list[int] = []
    real, gate = os.fdatasync, threading.Event()

    def slow(descriptor: int) -> None:
        syncs.append(descriptor)
        gate.wait(5)
        real(descriptor)

    monkeypatch.setattr(writer.os, "fdatasync", slow)
    with Writer(tmp_path, "a", durability="group") as journal:
        threads = [
            threading.Thread(target=journal.append, args=([entry(number)],)) for number in range(9)
        ]
        for thread in threads:
            thread.start()
        while len(journal._waiting) < 8:
            pass
        gate.set()
        for thread in threads:
            thread.join()

    assert len(syncs) == 2
    assert {entry(number) for number in range(9)} == set(entries(tmp_path))


@pytest.mark.parametrize("durability", ["fsync", "group", "os"])
def test_many_threads_lose_and_double_nothing(tmp_path, durability) -> None:
    with Writer(tmp_path, "a", durability=durability, segment_bytes=2000) as journal:

        def work(first: int) -> None:
            for number in range(first, first + 50):
                journal.append([entry(number)])

        threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 400, 50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = entries(tmp_path)

    assert len(found) == 400
    assert {entry(number) for number in range(400)} == set(found)


def test_a_full_disk_refuses_and_a_later_call_succeeds(tmp_path) -> None:
    with Writer(tmp_path, "a", reserve_bytes=2**62) as journal:
        with pytest.raises(JournalUnavailableError, match="room"):
            journal.append([entry(1)])
        journal.reserve_bytes = 0
        journal.append([entry(2)])

    assert [entry(2)] == entries(tmp_path)


def test_half_a_write_is_taken_back(tmp_path, monkeypatch) -> None:
    """The disk fills up in the middle of a line."""
    with Writer(tmp_path, "a") as journal:
        journal.append([entry(1)])
        real = os.write

        def short(descriptor: int, data: bytes) -> int:
            if len(data) > 10:
                return real(descriptor, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(writer.os, "write", short)
        with pytest.raises(JournalUnavailableError, match="No space"):
            journal.append([entry(2)])
        monkeypatch.undo()
        journal.append([entry(3)])

    assert [entry(1), entry(3)] == entries(tmp_path)


def test_a_failed_sync_acknowledges_nothing_and_leaves_the_segment(tmp_path, monkeypatch) -> None:
    """After a failed sync the kernel may have dropped the page: the file is not trusted again."""
    with Writer(tmp_path, "a") as journal:
        journal.append([entry(1)])

        def broken(_: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(writer.os, "fdatasync", broken)
        with pytest.raises(JournalUnavailableError, match="Input/output"):
            journal.append([entry(2)])
        monkeypatch.undo()
        journal.append([entry(3)])

    assert [1, 2] == [each.number for each in lines.segments(tmp_path)]
    assert [entry(1), entry(3)] == entries(tmp_path)


def test_an_unwritable_place_refuses(tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    journal = Writer(tmp_path / "file", "a")

    with pytest.raises(JournalUnavailableError):
        journal.append([entry(1)])


def test_a_source_is_used_once(tmp_path) -> None:
    with Writer(tmp_path, "a") as journal:
        journal.append([entry(1)])
    with pytest.raises(JournalUnavailableError, match="once"):
        Writer(tmp_path, "a").append([entry(2)])


def test_the_background_writer_writes_all_and_in_order(tmp_path) -> None:
    with BackgroundWriter(Writer(tmp_path, "a")) as journal:
        for number in range(100):
            journal.append([entry(number)])
        journal.flush()

        assert [entry(number) for number in range(100)] == entries(tmp_path)
        assert journal.dropped == 0


def test_the_background_writer_counts_what_it_drops(tmp_path) -> None:
    with BackgroundWriter(Writer(tmp_path, "a", reserve_bytes=2**62)) as journal:
        journal.append([entry(1), entry(2)])
        journal.flush()

        assert journal.dropped == 2
    assert [] == entries(tmp_path)


@pytest.mark.parametrize("durability", ["fsync", "group", "os"])
def test_equal_entries_of_many_threads_are_all_written(tmp_path, durability) -> None:
    with Writer(tmp_path, "w", durability) as writer:
        threads = [
            threading.Thread(target=lambda: [writer.append([b"{}"]) for _ in range(4)])
            for _ in range(6)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join(60)
            assert not each.is_alive()

    assert 24 == len([*reader.read_source(tmp_path, "w", None)])


def test_an_interrupted_write_acknowledges_nothing(tmp_path, monkeypatch) -> None:
    writer = Writer(tmp_path, "w", "os")
    writer.append([b"{}"])
    monkeypatch.setattr(lines, "encode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writer.append([b"{}"])
    monkeypatch.undo()
    writer.append([b"{}"])
    writer.close()

    assert 2 == len([*reader.read_source(tmp_path, "w", None)])
