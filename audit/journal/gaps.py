"""Damage in a journal: what it costs, and where reading goes on.

The check of a line runs on from the line before, so a line counts only behind one whose check is
known. A damaged line still states its check, or has its entry whole, or both stand in what two
lines became that lost the newline between them; each is tried. So damage costs the entry that it
hit. Where a line is gone altogether, the next one cannot be told from a damaged one: it is lost
too.
"""

import hashlib
import re
import zlib
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from audit.errors import JournalError
from audit.journal import lines
from audit.journal.lines import Place, Segment

_START = re.compile(rb'\{"check":"([0-9a-f]{8})","entry":')
# Behind so many damaged lines in a row, the checks of the last ones are the ones that can fit.
_CANDIDATES = 4


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes of a journal that are no entries.

    Attributes:
        segment: Where they lie.
        offset: Bytes of the segment before them.
        size: How many they are; 0 where the segments before this one are missing.
        digest: Their SHA-256.
    """

    segment: Segment
    offset: int
    size: int
    digest: str

    @property
    def told(self) -> dict[str, str]:
        """What the audit trail says of it."""
        return {
            "source": self.segment.source,
            "segment": str(self.segment.number),
            "offset": str(self.offset),
            "bytes": str(self.size),
            "sha256": self.digest,
        }


def missing(segment: Segment) -> tuple[Gap, Place]:
    """Return the gap before a segment whose predecessor is gone, and where reading goes on."""
    return Gap(segment, 0, 0, hashlib.sha256().hexdigest()), segment.start


def bridge(folder: Path, place: Place) -> tuple[Gap, Place]:
    """Return the gap that begins at `place`, where no whole line fits, and the place behind it.

    Args:
        folder: The journal.
        place: Before a line that ends and cannot be trusted.
    """
    with (folder / place.segment.name).open("rb") as file:
        file.seek(place.offset)
        data = file.read()
    checks = deque([place.check, _check_of_entry(data, place)], maxlen=_CANDIDATES)
    whole = data.rfind(b"\n") + 1  # what comes behind may still be written
    for found in _START.finditer(data, 0, whole):
        at = found.start()
        line = data[at : data.index(b"\n", at) + 1]
        for check in checks if at else ():
            before = Place(place.segment, place.offset + at, check)
            if _fits(line, before):
                return _gap(place, data[:at]), before
        checks.append(int(found[1], 16))
    return _gap(place, data[:whole]), Place(place.segment, place.offset + whole, checks[-1])


def _check_of_entry(data: bytes, place: Place) -> int:
    """Return the check behind the first line, if no more than its own check is damaged."""
    line = data[: data.index(b"\n") + 1]
    return zlib.crc32(lines.between(line), place.check)


def _fits(line: bytes, before: Place) -> bool:
    try:
        lines.decode(line, before)
    except JournalError:
        return False
    return True


def _gap(place: Place, data: bytes) -> Gap:
    return Gap(place.segment, place.offset, len(data), hashlib.sha256(data).hexdigest())
