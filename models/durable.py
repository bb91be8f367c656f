"""Files that are whole or not there, and locks that end with their process.

A new file is written beside its place, synced and renamed: a reader sees the old content or the
new, never half of it, and neither a killed process nor a power cut changes that.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_CHUNK = 1 << 20


def write(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step, replacing what was there.

    Two writers of one path must hold a lock (`exclusive`); readers need none.
    """
    beside = path.with_name(f".{path.name}.partial")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def copy(source: Path, target: Path) -> tuple[int, str]:
    """Copy a file to a new, read-only one and sync it; see `create`."""
    with source.open("rb") as file:
        return create(target, iter(lambda: file.read(_CHUNK), b""))


def create(target: Path, chunks: Iterable[bytes]) -> tuple[int, str]:
    """Write `chunks` to a new, read-only file and sync it.

    Args:
        target: Must not exist; its folder is created.
        chunks: Its content, in order.

    Returns:
        The number of bytes and their SHA-256 in hexadecimal.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    written, digest = 0, hashlib.sha256()
    with target.open("xb") as file:
        for chunk in chunks:
            written += len(chunk)
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), 0o444)
    return written, digest.hexdigest()


def hash_file(path: Path) -> tuple[int, str]:
    """Return the size of a regular file and its SHA-256 in hexadecimal; links are not followed.

    Raises:
        OSError: If it is missing, a link, or cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file at `path` alone, among threads and processes; the kernel frees it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
