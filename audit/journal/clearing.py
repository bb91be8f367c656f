"""Takes away what has been ingested: whole segments, and on erasure also the rest of it."""

import os
from collections.abc import Mapping
from pathlib import Path

from audit.journal import reader
from audit.journal.lines import Place
from audit.journal.writer import sync_folder

_BLOCK = 2**20


def delete_finished(folder: Path, after: Mapping[str, Place]) -> int:
    """Delete the segments that were read to their end and that nobody writes any more.

    Returns:
        How many were deleted.
    """
    done = reader.finished(folder, after)
    for segment in done:
        (folder / segment.name).unlink(missing_ok=True)
    if done:
        sync_folder(folder)
    return len(done)


def blank(folder: Path, after: Mapping[str, Place]) -> None:
    """Overwrite what was read of the segments that are still there.

    A living writer only appends, so the places behind what was read do not move. Afterwards the
    segment can be read on from its place, but not from its beginning.
    """
    for place in after.values():
        path = folder / place.segment.name
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            for start in range(0, place.offset, _BLOCK):
                os.pwrite(descriptor, b"\0" * min(_BLOCK, place.offset - start), start)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
