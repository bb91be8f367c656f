"""Damage in the journal costs the entry that it hits, and no other."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.journal import lines, reader
from audit.journal.gaps import Gap
from audit.journal.lines import Place
from audit.journal.writer import Writer


def entry(number: int) -> bytes:
    return b'{"number":%d}' % number


def journal(folder: Path, count: int = 6) -> Path:
    with Writer(folder, "a", durability="os") as writer:
        writer.append([entry(number) for number in range(count)])
    return folder / lines.segments(folder)[0].name


def recovered(folder: Path, place: Place | None = None) -> list[bytes | Gap]:
    return [each for each, _ in reader.recover(folder, "a", place)]


def entries(folder: Path) -> list[bytes]:
    return [each for each in recovered(folder) if not isinstance(each, Gap)]


def test_a_whole_journal_has_no_gap(tmp_path) -> None:
    journal(tmp_path)

    assert [entry(number) for number in range(6)] == recovered(tmp_path)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_byte_costs_its_own_entry(tmp_path_factory, data) -> None:
    folder = tmp_path_factory.mktemp("journal")
    path = journal(folder)
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 2).filter(lambda i: whole[i] != ord("\n")))
    hit = whole[:place].count(b"\n")
    whole[place] ^= data.draw(st.integers(1, 255).filter(lambda x: whole[place] ^ x != ord("\n")))
    path.write_bytes(whole)
    found = recovered(folder)
    [gap] = [each for each in found if isinstance(each, Gap)]
    at = path.read_bytes()[gap.offset : gap.offset + gap.size]

    assert [entry(number) for number in range(6) if number != hit] == entries(folder)
    assert isinstance(found[hit], Gap)
    assert (hashlib.sha256(at).hexdigest(), len(at)) == (gap.digest, gap.size)


def test_a_lost_newline_costs_one_entry(tmp_path) -> None:
    path = journal(tmp_path)
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*kept[:2], kept[2][:-1] + b"x", *kept[3:]]))

    assert [entry(number) for number in (0, 1, 3, 4, 5)] == entries(tmp_path)


@pytest.mark.parametrize("change", ["delete", "insert", "zeros"])
def test_reading_goes_on_behind_other_damage(tmp_path, change: str) -> None:
    path = journal(tmp_path)
    kept = path.read_bytes().splitlines(keepends=True)
    if change == "delete":
        del kept[2]
    elif change == "insert":
        kept.insert(2, b"nonsense\n")
    else:
        kept[2:4] = [b"\0" * len(kept[2] + kept[3])]
    path.write_bytes(b"".join(kept))
    expected = {"delete": (0, 1, 4, 5), "insert": range(6), "zeros": (0, 1, 5)}[change]

    assert [entry(number) for number in expected] == entries(tmp_path)


def test_a_damaged_last_line_is_a_gap_and_what_is_written_later_is_read(tmp_path) -> None:
    with Writer(tmp_path, "a", durability="os") as writer:
        writer.append([entry(0), entry(1)])
        path = tmp_path / lines.segments(tmp_path)[0].name
        content = path.read_bytes()
        with path.open("r+b") as file:
            file.write(content.replace(b'"number":1', b'"number":7'))
        first = [*reader.recover(tmp_path, "a", None)]
        writer.append([entry(2)])

        assert isinstance(first[-1][0], Gap)
        assert [entry(2)] == recovered(tmp_path, first[-1][1])


def test_a_torn_line_is_no_gap(tmp_path) -> None:
    path = journal(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])

    assert [entry(number) for number in range(5)] == recovered(tmp_path)


def test_a_missing_segment_is_a_gap_of_no_bytes(tmp_path) -> None:
    with Writer(tmp_path, "a", segment_bytes=10) as writer:
        for number in range(4):
            writer.append([entry(number)])
    (tmp_path / lines.Segment("a", 2).name).unlink()
    found = recovered(tmp_path)
    gap = found[1]

    assert isinstance(gap, Gap)
    assert (3, 0) == (gap.segment.number, gap.size)
    assert [entry(0), gap, entry(2), entry(3)] == found
    assert {"source": "a", "segment": "3", "offset": "0", "bytes": "0"}.items() <= gap.told.items()


def test_reading_on_from_a_place_finds_the_same(tmp_path) -> None:
    path = journal(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"number":2', b'"number":9'))
    whole = [*reader.recover(tmp_path, "a", None)]
    for number, (_, place) in enumerate(whole):
        assert [each for each, _ in whole[number + 1 :]] == recovered(tmp_path, place)
