"""The reading end of a journal: whole lines in order, from a place on."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from audit.errors import JournalError
from audit.journal import gaps, lines
from audit.journal.gaps import Gap
from audit.journal.lines import Place, Segment

BLOCK_BYTES = 2**20
# No entry is larger: an image as large as a request may be, as base64, and room for the rest.
LONGEST_LINE = 256 * 2**20


def read(folder: Path, after: Mapping[str, Place]) -> Iterator[tuple[bytes, Place]]:
    """Yield the entries behind the given places, source by source, each source in order.

    A torn last line is not yielded: while its writer lives it may still be completed, and once the
    writer is gone it was never acknowledged.

    Args:
        folder: Where the segments lie; may be missing, which is an empty journal.
        after: The place up to which each source was read; a source that is not here is read from
            its first segment.

    Yields:
        An entry and the place after it.

    Raises:
        JournalError: If a line is altered, or a segment that should be there is missing.
    """
    for source in sources(folder):
        yield from read_source(folder, source, after.get(source))


def sources(folder: Path) -> list[str]:
    """Return the sources that have a segment in `folder`, sorted."""
    return sorted(_sources(folder))


def read_source(folder: Path, source: str, place: Place | None) -> Iterator[tuple[bytes, Place]]:
    """Yield the entries of one source behind `place`; None for its beginning.

    Raises:
        JournalError: As for `read`.
    """
    yield from _read_source(folder, _sources(folder).get(source, []), place)


def recover(folder: Path, source: str, place: Place | None) -> Iterator[tuple[bytes | Gap, Place]]:
    """Yield the entries of one source behind `place`, and what is damaged between them.

    Args:
        folder: Where the segments lie.
        source: The source.
        place: Up to where it was read; None for its beginning.

    Yields:
        An entry or a gap, and the place after it.
    """
    expected = place.segment.number if place else 1
    for segment in _sources(folder).get(source, []):
        if segment.number < expected:
            continue  # read before, and not yet deleted
        if segment.number > expected and not (place and segment.number == expected + 1):
            yield gaps.missing(segment)
        at = place if place and place.segment == segment else segment.start
        while True:
            try:
                for read_on in _read_segment(folder, at):
                    at = read_on[1]
                    yield read_on
                break
            except JournalError:
                gap, at = gaps.bridge(folder, at)
                yield gap, at
        place, expected = segment.start, segment.number


def ends(folder: Path) -> Mapping[str, tuple[int, int]]:
    """Return the newest segment of every source that holds something, and its bytes."""
    found = {}
    for source, present in _sources(folder).items():
        filled = [(each.number, size) for each in present if (size := _size(folder / each.name))]
        if filled:
            found[source] = max(filled)
    return found


def pending(folder: Path, after: Mapping[str, Place]) -> int:
    """Return the bytes behind the given places: what has not been read yet."""
    behind = 0
    for source, present in _sources(folder).items():
        place = after.get(source)
        for segment in present:
            size = _size(folder / segment.name)
            if place is None or segment.number > place.segment.number:
                behind += size
            elif segment.number == place.segment.number:
                behind += max(0, size - place.offset)
    return behind


def finished(folder: Path, after: Mapping[str, Place]) -> list[Segment]:
    """Return the segments that were read to their end and that nobody writes any more."""
    return [
        segment
        for source, present in _sources(folder).items()
        for segment in present
        if _is_finished(folder, segment, after.get(source), last=segment == present[-1])
    ]


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock of this file: a segment's writer, for example."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _sources(folder: Path) -> dict[str, list[Segment]]:
    by_source: dict[str, list[Segment]] = {}
    for segment in lines.segments(folder):
        by_source.setdefault(segment.source, []).append(segment)
    return by_source


def _read_source(
    folder: Path, present: list[Segment], place: Place | None
) -> Iterator[tuple[bytes, Place]]:
    expected = place.segment.number if place else 1
    for segment in present:
        if segment.number < expected:
            continue  # read before, and not yet deleted
        if segment.number > expected and not (place and segment.number == expected + 1):
            raise JournalError(f"{segment.name} is there, but number {expected} is missing")
        start = place if place and place.segment == segment else segment.start
        yield from _read_segment(folder, start)
        place, expected = segment.start, segment.number


def _read_segment(folder: Path, place: Place) -> Iterator[tuple[bytes, Place]]:
    with (folder / place.segment.name).open("rb", buffering=BLOCK_BYTES) as file:
        file.seek(place.offset)  # beyond the end where a refused entry was read, then cut back
        while (line := file.readline(LONGEST_LINE)).endswith(b"\n"):
            entry, place = lines.decode(line, place)
            yield entry, place


def _is_finished(folder: Path, segment: Segment, place: Place | None, *, last: bool) -> bool:
    path, reached = folder / segment.name, place.segment.number if place else 0
    if segment.number < reached:
        return True
    # Asked before looking for lines: whoever is gone then adds none.
    left = not is_held(path)
    if place is None or segment.number > reached:
        return left and last and not _whole_line_at(path, 0)  # died before its first line
    return (left or not last) and not _whole_line_at(path, place.offset)


def _whole_line_at(path: Path, offset: int) -> bool:
    with path.open("rb") as file:
        file.seek(offset)
        return file.readline(LONGEST_LINE).endswith(b"\n")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # deleted by the auditor in the meantime
        return 0
