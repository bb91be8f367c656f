"""Waits until the auditor has taken in what was written down before: reviews, then a request."""

import time
from collections.abc import Mapping
from pathlib import Path

from audit.journal import reader
from audit.store import ledger
from audit.store.queries import Reading

_LOOK_SECONDS = 0.1
LONGEST_SECONDS = 10.0


def wait(journal: Path, reading: Reading, seconds: float = LONGEST_SECONDS) -> bool:
    """Wait until the store holds what the journal holds now; return whether it does.

    Answers go on meanwhile and are not waited for. A last line that was torn by a kill is never
    taken in, and without an auditor nothing is: hence the limit.

    Args:
        journal: The journal's folder.
        reading: The audit store.
        seconds: Longest time to wait.
    """
    wanted, end = reader.ends(journal), time.monotonic() + seconds
    while not _reached(wanted, journal, reading):
        if time.monotonic() >= end:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _reached(wanted: Mapping[str, tuple[int, int]], journal: Path, reading: Reading) -> bool:
    there = set(reader.sources(journal))
    with reading.connected() as connection:
        places = ledger.places(connection)
    for source, end in wanted.items():
        place = places.get(source)
        at = (0, 0) if place is None else (place.segment.number, place.offset)
        if source in there and at < end:
            return False
    return True
