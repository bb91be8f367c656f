"""Connections to SQLite and PostgreSQL that keep one promise: a transaction is all or nothing.

There is one writer: the auditor. SQLite before 3.51.3 can corrupt a write-ahead log when two
connections write and checkpoint at the same moment, so this is a condition and not a preference.
Readers are told so to the database and cannot write.

References:
    The WAL-reset bug: https://sqlite.org/wal.html, "the WAL-reset bug".
"""

import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url

from audit.errors import StoreError

# How long a reader waits for a checkpoint, and a writer for the end of a migration.
BUSY_MILLISECONDS = 10_000


def open_writer(url: str) -> Engine:
    """Return connections for the one process that writes.

    Raises:
        StoreError: If the URL is not one of SQLite (a file) or PostgreSQL.
    """
    parsed = _checked(url)
    if parsed.get_backend_name() == "postgresql":
        return sa.create_engine(parsed, isolation_level="SERIALIZABLE", pool_pre_ping=True)
    path = Path(str(parsed.database))
    path.parent.mkdir(parents=True, exist_ok=True)
    # For its owner alone, and so are the files that SQLite makes beside it.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    engine = sa.create_engine(parsed)
    sa.event.listen(engine, "connect", _prepare_writer)
    sa.event.listen(engine, "begin", _begin_at_once)
    return engine


def open_reader(url: str) -> Engine:
    """Return connections that can only read; the store must exist.

    Raises:
        StoreError: If there is no store at the URL, or the URL is of another kind.
    """
    parsed = _checked(url)
    if parsed.get_backend_name() == "postgresql":
        engine = sa.create_engine(parsed, pool_pre_ping=True)
        return engine.execution_options(postgresql_readonly=True)
    if not Path(str(parsed.database)).exists():
        raise StoreError(f"there is no audit store at {parsed.database}; the auditor makes it")
    engine = sa.create_engine(parsed)
    sa.event.listen(engine, "connect", _prepare_reader)
    sa.event.listen(engine, "begin", _begin_reading)
    return engine


def is_there(url: str) -> bool:
    """Whether there may be a store at the URL: a server's can only be asked.

    Raises:
        StoreError: As for `open_writer`.
    """
    parsed = _checked(url)
    return parsed.get_backend_name() == "postgresql" or Path(str(parsed.database)).exists()


def is_sqlite(url: str) -> bool:
    """Whether the store is a file of this machine.

    Raises:
        StoreError: As for `open_writer`.
    """
    return _checked(url).get_backend_name() == "sqlite"


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError as error:
        raise StoreError(f"the audit store's URL cannot be read: {error}") from error
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite" or parsed.database in {None, "", ":memory:"}:
        raise StoreError("the audit store is sqlite:///file or postgresql://…, not " + backend)
    return parsed


def _prepare_writer(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI object
    connection.isolation_level = None  # the listener on "begin" begins, not the driver
    for pragma in (
        f"busy_timeout={BUSY_MILLISECONDS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "recursive_triggers=ON",  # so that REPLACE cannot go around the triggers
        "secure_delete=ON",  # what is erased is overwritten
    ):
        connection.execute(f"PRAGMA {pragma}")


def _prepare_reader(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI object
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
    connection.execute("PRAGMA query_only=ON")


def _begin_at_once(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
