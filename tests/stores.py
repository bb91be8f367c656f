"""Audit stores to test on: SQLite always, PostgreSQL where its server programs are installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from audit import records
from audit.journal import lines
from audit.journal.lines import Place
from audit.store import connections, verification
from audit.store.anchors import AnchorFolder
from audit.store.ledger import Ledger
from tests.entries import START

KEY = bytes(range(32))
# The server refuses to run as root; `nobody` owns nothing else.
NOBODY = 65534


def missing_postgresql() -> str | None:
    """Why the tests on PostgreSQL cannot run; None when they can."""
    if not postgresql_program("initdb"):
        return "PostgreSQL's initdb is not installed"
    try:
        import psycopg  # noqa: F401, PLC0415 - an optional extra
    except ImportError:
        return "the extra `postgres` is not installed"
    return None


def postgresql_program(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def _demote() -> None:
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL server of our own on a Unix socket in `folder`; gives its URL."""
    folder.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    data = folder / "data"
    subprocess.run(
        [postgresql_program("initdb"), "-D", data, "-A", "trust", "-U", "rightly", "-N"],
        check=True,
        capture_output=True,
        preexec_fn=_demote,
        cwd=folder,
    )
    options = f"-c fsync=off -c listen_addresses='' -c unix_socket_directories='{folder}'"
    control = [postgresql_program("pg_ctl"), "-D", data, "-w"]
    subprocess.run(
        [*control, "-l", folder / "log", "-o", options, "start"],
        check=True,
        capture_output=True,
        preexec_fn=_demote,
        cwd=folder,
    )
    try:
        yield f"postgresql://rightly@/postgres?host={folder}"
    finally:
        subprocess.run(
            [*control, "-m", "immediate", "stop"],
            check=True,
            capture_output=True,
            preexec_fn=_demote,
            cwd=folder,
        )


@dataclass
class Store:
    """A store with everything around it that the auditor has."""

    url: str
    ledger: Ledger
    anchors: AnchorFolder
    offset: int = 0

    def add(self, *events: records.Event, source: str = "w", now: datetime = START) -> None:
        """Ingest events as if they stood in a journal, in one transaction; then anchor."""
        placed = []
        for event in events:
            self.offset += 100
            place = Place(lines.Segment(source, 1), self.offset, 0)
            placed.append((event, records.to_bytes(event), place))
        with self.ledger.batch(now=now) as batch:
            batch.ingest(placed)
        self.anchors.publish(self.ledger.anchor(now=now + timedelta(minutes=self.offset)))

    def verify(self) -> verification.Verification:
        reader = connections.open_reader(self.url)
        try:
            return verification.verify(reader, key=KEY, anchors=self.anchors.read())
        finally:
            reader.dispose()

    def found(self) -> set[str]:
        """The kinds of tampering that a verification finds."""
        return {each.tampering.name for each in self.verify().findings}

    def tamper(self, *statements: str) -> None:
        """Change rows as somebody who can write to the database and knows it well."""
        with self.ledger.engine.begin() as connection:
            self._drop_triggers(connection)
            for statement in statements:
                connection.exec_driver_sql(statement)

    def rows(self, table: sa.Table) -> Sequence[sa.Row]:
        with self.ledger.engine.begin() as connection:
            return connection.execute(sa.select(table)).all()

    @staticmethod
    def _drop_triggers(connection: sa.Connection) -> None:
        where = " ON events" if connection.dialect.name == "postgresql" else ""
        for verb in ("UPDATE", "DELETE"):
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS events_no_{verb}{where}")


def make(url: str, folder: Path) -> Store:
    """A fresh, prepared store; on PostgreSQL in place of what was there."""
    engine = connections.open_writer(url)
    if engine.dialect.name == "postgresql":
        clear(engine)
    ledger = Ledger(engine, KEY)
    ledger.prepare(now=START)
    return Store(url, ledger, AnchorFolder(folder / "anchors"))


def clear(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
