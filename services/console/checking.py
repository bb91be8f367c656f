"""The verification of the whole trail, asked for on a page: one at a time, off the request thread.

Workers share a file that says how far it is and what was found, and a lock that ends with the
process that does it. It is the verification of `rightly audit verify`.
"""

import fcntl
import json
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from audit.canonical import moment
from audit.errors import AuditError
from audit.journal.reader import is_held
from audit.store import tables, verification
from audit.store.anchors import AnchorFolder
from models import durable
from services import secret
from services.errors import ConflictError
from services.records.stores import StoreReader
from services.settings import Settings

FILE, LOCK = "verification.json", ".verification.lock"
_SHOWN = 20  # findings


@dataclass(frozen=True, slots=True)
class Checked:
    """How far the last verification is, and what it found.

    Attributes:
        actor: Who asked for it.
        begun_at: When, canonical.
        running: Whether it goes on.
        events: How many events were checked.
        of: How many there were when it began.
        done_at: When it ended, canonical; "" before, and where it was cut off.
        intact: Whether nothing was found; None before the end.
        erased: How many events have no content any more, by the record.
        anchors: How many anchors were compared.
        findings: The first of what does not fit, in words.
        failure: Why it could not be done; "" where it could.
    """

    actor: str
    begun_at: str
    running: bool
    events: int = 0
    of: int = 0
    done_at: str = ""
    intact: bool | None = None
    erased: int = 0
    anchors: int = 0
    findings: tuple[str, ...] = ()
    failure: str = ""

    @property
    def share(self) -> float:
        """The share that is done, in [0, 1]."""
        return min(1.0, self.events / self.of) if self.of else 0.0


def last(home: Path) -> Checked | None:
    """Return how the last verification stands; None before the first."""
    try:
        said: dict[str, Any] = json.loads((home / FILE).read_text("utf-8"))
    except FileNotFoundError:
        return None
    running = said["running"] and is_held(home / LOCK)
    return Checked(**{**said, "findings": tuple(said["findings"]), "running": running})


def begin(
    settings: Settings, store: StoreReader, *, actor: str, clock: Callable[[], datetime]
) -> threading.Thread:
    """Begin a verification in a thread of its own and return that.

    Raises:
        ConflictError: If one is under way, in whatever worker.
        StoreError: If there is no store yet.
    """
    reading = store.require()
    settings.home.mkdir(parents=True, exist_ok=True)
    lock = os.open(settings.home / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise ConflictError("a verification is under way") from error
    try:
        with reading.connected() as connection:
            of = connection.execute(sa.select(tables.head.c.seq)).scalar() or 0
        begun = Checked(actor, moment(clock()), running=True, of=of)
        _write(settings.home, begun)
    except BaseException:
        os.close(lock)
        raise
    arguments = (settings, reading.engine, begun, clock, lock)
    thread = threading.Thread(target=_check, args=arguments, daemon=True, name="verification")
    thread.start()
    return thread


def _check(
    settings: Settings,
    engine: sa.Engine,
    begun: Checked,
    clock: Callable[[], datetime],
    lock: int,
) -> None:
    told = {**asdict(begun)}

    def report(events: int) -> None:
        _write(settings.home, Checked(**{**told, "events": events}))

    try:
        found = verification.verify(
            engine,
            key=secret.secret_key(settings.chain_key),
            anchors=AnchorFolder(settings.anchors).read(),
            report=report,
        )
        findings = [f"Event {e.seq}: {e.tampering}: {e.detail}" for e in found.findings[:_SHOWN]]
        told |= {
            "events": found.events,
            "intact": found.intact,
            "erased": found.erased,
            "anchors": found.anchors,
            "findings": tuple(findings),
        }
    except (AuditError, sa.exc.SQLAlchemyError, OSError) as error:
        told |= {"failure": str(error)}
    finally:
        told |= {"running": False, "done_at": moment(clock())}
        _write(settings.home, Checked(**told))
        os.close(lock)


def _write(home: Path, checked: Checked) -> None:
    durable.write(home / FILE, json.dumps(asdict(checked)).encode())
