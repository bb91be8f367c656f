"""Whether a training has the disk and the memory that it needs, asked before it starts.

A training that dies for want of memory takes others along, and a full disk stops the journal and
with it the answers; so what cannot fit is refused beforehand.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from services.retraining import files
from services.retraining.files import Folder

# Memory of a training process before it has read any data: the libraries and a batch's graph.
_BASE_BYTES = 700_000_000
_COPIES = 2  # of the sets while they are read, and of a checkpoint while it is replaced
_CHECKPOINT = 3  # weights and two moments of the optimiser
_EXPORTED = 4  # weights, two graphs, and the version that is filed
_MEMORY = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Room:
    """Room on a machine, needed or free.

    Attributes:
        disk: Bytes.
        memory: Bytes; None where it is not this machine's matter.
    """

    disk: int
    memory: int | None


def needed(here: Folder, weights: Path) -> Room:
    """Estimate what a training needs from what it will read and write.

    Args:
        here: The retraining's folder, its sets written.
        weights: The champion's weights; the candidate's are as large.
    """
    read = sum((here.path / f"{name}.npz").stat().st_size for name in files.SETS)
    size = weights.stat().st_size
    written = size * (_CHECKPOINT * _COPIES + _EXPORTED)
    return Room(written, _BASE_BYTES + _COPIES * read + size * _CHECKPOINT)


def free(folder: Path) -> Room:
    """Return what is free on the folder's disk and in this machine's or container's memory."""
    return Room(shutil.disk_usage(folder).free, _free_memory())


def shortage(wanted: Room, there: Room, spare: int) -> str:
    """Say what is missing; "" where everything fits.

    Args:
        wanted: What the training needs.
        there: What is free.
        spare: Bytes of each that must stay free.
    """
    pairs = (("disk", wanted.disk, there.disk), ("memory", wanted.memory, there.memory))
    return "; ".join(
        f"{name}: about {_shown(needs)} are needed and {_shown(spare)} must stay free, but "
        f"{_shown(has)} are free"
        for name, needs, has in pairs
        if needs is not None and has is not None and needs + spare > has
    )


def _free_memory() -> int | None:
    """Return the available memory, bounded by the container's limit; None where nothing says."""
    try:
        lines = _MEMORY.read_text("utf-8").splitlines()
    except OSError:
        return None
    told = dict(line.split(":", 1) for line in lines)
    known = [1024 * int(told["MemAvailable"].split()[0])] if "MemAvailable" in told else []
    try:
        limit = (_CGROUP / "memory.max").read_text("utf-8").strip()
        used = int((_CGROUP / "memory.current").read_text("utf-8"))
    except (OSError, ValueError):
        limit = "max"
    if limit.isdecimal():
        known.append(max(0, int(limit) - used))
    return min(known, default=None)


def _shown(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
