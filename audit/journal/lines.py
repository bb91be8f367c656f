"""The format of a journal: segments of checked lines, and places in them.

A segment is the file `<source>-<number>.jsonl`; a source is one run of one writer, its segments
count from 1. A line is `{"check":"xxxxxxxx","entry":…}` and a newline. The check is a CRC-32 that
runs on through the segment, from the segment's name over every entry so far; an altered, missing
or moved line therefore breaks it. Only the last line of a segment may be torn: its writer was
stopped in the middle of it, so nobody was answered on its strength.
"""

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from audit.errors import JournalError

_BEFORE, _BETWEEN, _AFTER = b'{"check":"', b'","entry":', b"}\n"
_CHECK_END = len(_BEFORE) + 8
_ENTRY_START = _CHECK_END + len(_BETWEEN)
_NAME = re.compile(r"(?P<source>[0-9A-Za-z_.]{1,64})-(?P<number>\d{6,})\.jsonl")


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a journal.

    Attributes:
        source: The writer's run.
        number: Counts from 1 within the source.
    """

    source: str
    number: int

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.source}-{self.number:06d}.jsonl"

    @property
    def seed(self) -> int:
        """The check before the first line."""
        return zlib.crc32(self.name.encode())

    @property
    def start(self) -> "Place":
        """The place before the first line."""
        return Place(self, 0, self.seed)


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere between two lines of a journal.

    Attributes:
        segment: The file.
        offset: Bytes before this place.
        check: The running check up to this place.
    """

    segment: Segment
    offset: int
    check: int


def encode(entry: bytes, check: int) -> tuple[bytes, int]:
    """Return the line of `entry` after a line with `check`, and the check after it."""
    after = zlib.crc32(entry, check)
    return b"".join((_BEFORE, b"%08x" % after, _BETWEEN, entry, _AFTER)), after


def between(line: bytes) -> bytes:
    """Return what stands where a line has its entry, without looking at anything else."""
    return line[_ENTRY_START : -len(_AFTER)]


def decode(line: bytes, before: Place) -> tuple[bytes, Place]:
    """Return the entry of a whole line that starts at `before`, and the place after it.

    Raises:
        JournalError: If it is not a line of this format or its check does not fit.
    """
    entry = line[_ENTRY_START : -len(_AFTER)]
    expected, after = encode(entry, before.check)
    if line != expected:
        where = f"{before.segment.name} at byte {before.offset}"
        raise JournalError(f"{where}: altered, or lines before it are missing: {line[:60]!r}")
    return entry, Place(before.segment, before.offset + len(line), after)


def entry_of(line: bytes) -> bytes:
    """Return the entry of a whole line without comparing its check with the lines before it.

    Raises:
        JournalError: If it is not a line of this format.
    """
    if not line.startswith(_BEFORE) or not line.endswith(_AFTER):
        raise JournalError(f"not a journal line: {line[:60]!r}")
    return line[_ENTRY_START : -len(_AFTER)]


def segments(folder: Path) -> list[Segment]:
    """Return the segments in `folder` by source and number, ignoring files of other names."""
    found = (_NAME.fullmatch(path.name) for path in folder.glob("*.jsonl"))
    return sorted(
        (Segment(match["source"], int(match["number"])) for match in found if match),
        key=lambda each: (each.source, each.number),
    )
