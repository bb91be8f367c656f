"""An answer is found in the journal, whatever lies beside it."""

import pytest

from services.records.images import ImageFolder
from services.records.trail import Trail
from tests.services.records.test_recording import answer, open_recorder


@pytest.fixture
def written(tmp_path):  # noqa: ANN201 - the trail, its journal and two identifiers
    recorder = open_recorder(tmp_path / "journal", source="w1", key=bytes(range(32)))
    entries = [answer(1), answer(2)]
    recorder.record(entries)
    recorder.close()
    trail = Trail(tmp_path / "journal", ImageFolder(tmp_path / "images"), lambda: None)
    return trail, tmp_path / "journal", [each.prediction_id for each in entries]


def test_a_line_that_cannot_be_read_is_no_answer_and_hides_none(written) -> None:
    """A line may be wiped between the moment its id is seen and the moment it is read."""
    trail, journal, (first, second) = written
    assert trail.find(first) is not None
    [segment] = [each for each in journal.iterdir() if first.encode() in each.read_bytes()]
    lines = segment.read_bytes().splitlines(keepends=True)
    about = f'"event_id":"{first}"'.encode()
    wiped = [bytes(20) + each[20:] if about in each else each for each in lines]
    segment.chmod(0o600)
    segment.write_bytes(b"".join(wiped))

    assert trail.find(first) is None
    assert trail.find(second) is not None


def test_an_answer_is_found_behind_what_was_wiped(written) -> None:
    """Ingested content is overwritten in place: then no line's end stands before this one."""
    trail, journal, (first, second) = written
    [segment] = [each for each in journal.iterdir() if first.encode() in each.read_bytes()]
    content = segment.read_bytes()
    about = f'"event_id":"{second}"'.encode()
    begin = content.rfind(b"\n", 0, content.rfind(about)) + 1
    segment.chmod(0o600)
    segment.write_bytes(bytes(begin) + content[begin:])

    assert trail.find(second) is not None
