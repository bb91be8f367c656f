"""Exactly one auditor: a lock that its holder's death releases, here and in the database."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine


class NotLeaderError(Exception):
    """Another auditor is at work."""


@contextmanager
def leadership(lock: Path, engine: Engine) -> Iterator[None]:
    """Be the one auditor while the block runs.

    Two machines that share a PostgreSQL store are told apart by its advisory lock; should that
    connection be lost, the numbers of the events still cannot be given out twice.

    Args:
        lock: The lock file of this installation; created when missing.
        engine: The store's connections.

    Raises:
        NotLeaderError: If another auditor is at work.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NotLeaderError(f"another auditor holds {lock}") from error
        with _advisory(engine):
            yield
    finally:
        os.close(descriptor)


@contextmanager
def _advisory(engine: Engine) -> Iterator[None]:
    if engine.dialect.name != "postgresql":
        yield
        return
    number = int.from_bytes(hashlib.sha256(b"rightly auditor").digest()[:7])
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.execute(sa.select(sa.func.pg_try_advisory_lock(number))).scalar():
            raise NotLeaderError("another auditor holds the advisory lock of the store")
        try:
            yield
        finally:
            connection.execute(sa.select(sa.func.pg_advisory_unlock(number)))
