"""The record of every retraining: one row each, and an appended line for whatever happens to it.

The gateways and the runner share it, so it is a database of its own: the audit store has exactly
one writer, the auditor. A row changes only from a state that the change expects, and two active
retrainings of one model cannot exist: an index refuses the second.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError

from audit.canonical import moment, read_moment
from services.errors import (
    ConflictError,
    RecordUnavailableError,
    ServiceError,
    UnknownRetrainingError,
)

Status: TypeAlias = Literal[
    "queued",
    "running",
    "awaiting_approval",
    "promoted",
    "rolled_back",
    "rejected",
    "failed",
    "cancelled",
]
ACTIVE: tuple[Status, ...] = ("queued", "running", "awaiting_approval")
ENDED: tuple[Status, ...] = ("promoted", "rolled_back", "rejected", "failed", "cancelled")
Priority: TypeAlias = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")

_SCHEMA = 1
_BUSY_MILLISECONDS = 5_000
_NAME = sa.String(200)
_MOMENT = sa.String(40)
_ACTIVE_ONLY = sa.text("status IN ('queued', 'running', 'awaiting_approval')")
_metadata = sa.MetaData()


class RetrainingConflictError(ConflictError):
    """The retraining cannot be had as asked, because of another one or of where it stands."""


_schema = sa.Table("retraining_schema", _metadata, sa.Column("number", sa.Integer))
_retrainings = sa.Table(
    "retrainings",
    _metadata,
    sa.Column("retraining_id", _NAME, primary_key=True),
    sa.Column("model", _NAME, nullable=False),
    sa.Column("idempotency_key", _NAME, nullable=True),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("step", sa.String(20), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("cancelled_by", _NAME, nullable=True),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
    sa.Column("changed_at", _MOMENT, nullable=False),
    sa.UniqueConstraint("model", "idempotency_key", name="uq_retrainings_key"),
)
sa.Index(
    "uq_retrainings_active",
    _retrainings.c.model,
    unique=True,
    sqlite_where=_ACTIVE_ONLY,
    postgresql_where=_ACTIVE_ONLY,
)
_lines = sa.Table(
    "retraining_events",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("retraining_id", _NAME, nullable=False, index=True),
    sa.Column("at", _MOMENT, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
)
_approvals = sa.Table(
    "retraining_approvals",
    _metadata,
    sa.Column("retraining_id", _NAME, primary_key=True),
    sa.Column("actor", _NAME, primary_key=True),
    sa.Column("approved", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", _MOMENT, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for.

    Attributes:
        model: The model.
        objective: The way of learning, or "auto".
        reason: Why, in a sentence.
        actor: Who asked.
        origin: "person", "policy" or "alertmanager".
        hyperparameters: Numbers that differ from the recipe's.
        alarm_id: The alarm that it answers; None for none.
        priority: Which of several that wait learns first.
        when_quiet: What to do with a candidate whose trial ends with too little evidence; ""
            leaves that to the change-control plan.
    """

    model: str
    objective: str
    reason: str
    actor: str
    origin: str = "person"
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    alarm_id: str | None = None
    priority: Priority = "normal"
    when_quiet: Literal["", "go_on", "withdraw"] = ""

    def to_text(self) -> str:
        """Return the request as JSON, equal for equal requests."""
        plain = {each: getattr(self, each) for each in self.__dataclass_fields__}
        if not self.when_quiet:  # equal to what earlier programs wrote
            del plain["when_quiet"]
        return json.dumps({**plain, "hyperparameters": dict(self.hyperparameters)}, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Retraining:
    """One retraining as it stands.

    Attributes:
        retraining_id: Its name.
        request: What was asked for.
        key: The idempotency key that it was asked with.
        status: Where it stands, for everybody.
        step: What is being done.
        attempt: Number of the current training attempt; 0 before the first.
        cancelled_by: Who asked to end it; None when nobody did.
        facts: What the steps found: data, choice, candidate, verdict, plan …
        reason: Why it ended as it did; "" before.
        created_at: When it was asked for.
        changed_at: When it last changed.
    """

    retraining_id: str
    request: Request
    key: str | None
    status: Status
    step: str
    attempt: int
    cancelled_by: str | None
    facts: Mapping[str, Any]
    reason: str
    created_at: datetime
    changed_at: datetime

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class Approval:
    """What one person said about a candidate that the gate has passed.

    Attributes:
        actor: Who.
        approved: Whether it may be promoted.
        reason: Why.
        at: When.
    """

    actor: str
    approved: bool
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Rows:
    """The record, as any process sees it.

    Attributes:
        engine: As `open_rows` connects it.
    """

    engine: Engine

    def add(
        self, retraining_id: str, request: Request, *, key: str | None, now: datetime
    ) -> Retraining:
        """Write a new retraining down, or return the one that was asked with the same key.

        Raises:
            RetrainingConflictError: If one of the model is active, or the key was used for
                another request.
        """
        row = {
            "retraining_id": retraining_id,
            "model": request.model,
            "idempotency_key": key,
            "request": request.to_text(),
            "status": "queued",
            "step": "queued",
            "attempt": 0,
            "facts": "{}",
            "reason": "",
            "created_at": moment(now),
            "changed_at": moment(now),
        }
        if (known := self._same(request, key)) is not None:
            return known
        try:
            with self._connected() as connection:
                connection.execute(sa.insert(_retrainings).values(**row))
                self._tell(connection, retraining_id, f"asked for by {request.actor}", now)
        except IntegrityError as error:
            if (known := self._same(request, key)) is not None:
                return known
            active = self.active(request.model)
            named = active.retraining_id if active else "another one"
            raise RetrainingConflictError(
                f"{request.model} is being retrained already: {named}"
            ) from error
        return self.get(retraining_id)

    def get(self, retraining_id: str) -> Retraining:
        """Return one retraining.

        Raises:
            UnknownRetrainingError: If there is none of that id.
        """
        wanted = sa.select(_retrainings).where(_retrainings.c.retraining_id == retraining_id)
        found = self._select(wanted)
        if not found:
            raise UnknownRetrainingError(f"no retraining {retraining_id!r}")
        return found[0]

    def knows(self, retraining_id: str) -> bool:
        """Whether there is a retraining of that id."""
        wanted = sa.select(_retrainings).where(_retrainings.c.retraining_id == retraining_id)
        return bool(self._select(wanted))

    def active(self, model: str) -> Retraining | None:
        """Return the model's active retraining, if any."""
        table = _retrainings
        wanted = sa.select(table).where(table.c.model == model, table.c.status.in_(ACTIVE))
        return next(iter(self._select(wanted)), None)

    def page(
        self, *, model: str | None = None, before: str | None = None, limit: int = 50
    ) -> Sequence[Retraining]:
        """Return retrainings, newest first; their ids sort by time."""
        table = _retrainings
        wanted = sa.select(table).order_by(table.c.retraining_id.desc()).limit(limit)
        if model is not None:
            wanted = wanted.where(table.c.model == model)
        if before is not None:
            wanted = wanted.where(table.c.retraining_id < before)
        return self._select(wanted)

    def unsettled(self) -> Sequence[Retraining]:
        """Return every active retraining, oldest first."""
        table = _retrainings
        wanted = sa.select(table).where(table.c.status.in_(ACTIVE))
        return self._select(wanted.order_by(table.c.retraining_id))

    def move(
        self,
        retraining_id: str,
        *,
        expected: Sequence[Status],
        now: datetime,
        status: Status | None = None,
        step: str | None = None,
        attempt: int | None = None,
        reason: str | None = None,
        facts: Mapping[str, Any] | None = None,
        said: str = "",
    ) -> bool:
        """Change a row that stands where the caller thinks; return whether it did.

        Args:
            retraining_id: Which.
            expected: The states from which this change is allowed.
            now: When.
            status: The new state.
            step: What is done from now on.
            attempt: Number of the attempt from now on; never lower than before.
            reason: Why it ended so.
            facts: Added to what is known, by name.
            said: A line for the log of events.
        """
        table = _retrainings
        with self._connected() as connection:
            at = connection.execute(
                sa.select(table)
                .where(table.c.retraining_id == retraining_id, table.c.status.in_(expected))
                .with_for_update()
            ).first()
            if at is None or (attempt is not None and attempt < at.attempt):
                return False
            values: dict[str, Any] = {"changed_at": moment(now)}
            given = {"status": status, "step": step, "attempt": attempt, "reason": reason}
            values |= {name: value for name, value in given.items() if value is not None}
            if facts is not None:
                values["facts"] = json.dumps({**json.loads(at.facts), **facts}, sort_keys=True)
            connection.execute(
                sa.update(table).where(table.c.retraining_id == retraining_id).values(**values)
            )
            if said:
                self._tell(connection, retraining_id, said, now)
        return True

    def cancel(self, retraining_id: str, *, actor: str, now: datetime) -> Retraining:
        """Ask a retraining to end; one that waits in the queue ends at once.

        Raises:
            UnknownRetrainingError: If there is none of that id.
            RetrainingConflictError: If it has ended otherwise already.
        """
        found = self.get(retraining_id)
        if found.ended and found.status != "cancelled":
            raise RetrainingConflictError(f"{retraining_id} is {found.status} already")
        table = _retrainings
        with self._connected() as connection:
            wanted = (table.c.retraining_id == retraining_id) & table.c.cancelled_by.is_(None)
            changed = connection.execute(
                sa.update(table).where(wanted).values(cancelled_by=actor, changed_at=moment(now))
            )
            if changed.rowcount:
                self._tell(connection, retraining_id, f"{actor} asks to cancel it", now)
        self.move(
            retraining_id,
            expected=("queued",),
            status="cancelled",
            reason=f"cancelled by {actor}",
            now=now,
        )
        return self.get(retraining_id)

    def approve(self, retraining_id: str, approval: Approval) -> Retraining:
        """Write down what a person says; the same person may not say it twice.

        Raises:
            UnknownRetrainingError: If there is none of that id.
            RetrainingConflictError: If it does not wait for approval, or the person has spoken.
        """
        found = self.get(retraining_id)
        if found.status != "awaiting_approval":
            raise RetrainingConflictError(
                f"{retraining_id} is {found.status}; it does not wait for approval"
            )
        row = {
            "retraining_id": retraining_id,
            "actor": approval.actor,
            "approved": approval.approved,
            "reason": approval.reason,
            "at": moment(approval.at),
        }
        word = "approves" if approval.approved else "refuses"
        try:
            with self._connected() as connection:
                connection.execute(sa.insert(_approvals).values(**row))
                said = f"{approval.actor} {word}: {approval.reason}"
                self._tell(connection, retraining_id, said, approval.at)
        except IntegrityError as error:
            raise RetrainingConflictError(f"{approval.actor} has spoken already") from error
        return self.get(retraining_id)

    def approvals(self, retraining_id: str) -> Sequence[Approval]:
        """Return what persons said, oldest first."""
        table = _approvals
        wanted = (
            sa.select(table).where(table.c.retraining_id == retraining_id).order_by(table.c.at)
        )
        with self._connected() as connection:
            return [
                Approval(row.actor, row.approved, row.reason, read_moment(row.at))
                for row in connection.execute(wanted)
            ]

    def events(self, retraining_id: str) -> Sequence[tuple[datetime, str]]:
        """Return what happened, oldest first."""
        wanted = sa.select(_lines).where(_lines.c.retraining_id == retraining_id)
        with self._connected() as connection:
            found = connection.execute(wanted.order_by(_lines.c.number))
            return [(read_moment(row.at), row.what) for row in found]

    def _same(self, request: Request, key: str | None) -> Retraining | None:
        if key is None:
            return None
        table = _retrainings
        wanted = sa.select(table).where(
            table.c.model == request.model, table.c.idempotency_key == key
        )
        known = next(iter(self._select(wanted)), None)
        if known is not None and known.request.to_text() != request.to_text():
            raise RetrainingConflictError(
                f"the key {key!r} was used for another request: {known.retraining_id}"
            )
        return known

    def _select(self, wanted: sa.Select[Any]) -> Sequence[Retraining]:
        with self._connected() as connection:
            return [_retraining(row) for row in connection.execute(wanted)]

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Yield a connection in a transaction.

        Raises:
            RecordUnavailableError: If the database is locked for too long, or does not answer.
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except (OperationalError, InterfaceError) as error:
            raise RecordUnavailableError(
                "the record of retrainings is busy or not reachable; ask again"
            ) from error

    @staticmethod
    def _tell(connection: Connection, retraining_id: str, what: str, now: datetime) -> None:
        line = {"retraining_id": retraining_id, "at": moment(now), "what": what}
        connection.execute(sa.insert(_lines).values(**line))


@contextmanager
def open_rows(url: str) -> Iterator[Rows]:
    """Open the record for a block."""
    rows = connect(url)
    try:
        yield rows
    finally:
        rows.engine.dispose()


def connect(url: str) -> Rows:
    """Connect to the record, made where it is missing.

    SQLite keeps its rollback journal here: several processes write, and before 3.51.3 a
    write-ahead log can be corrupted by that.

    Raises:
        ServiceError: If the record was made by a later version of this program.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        path = Path(str(parsed.database))
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        engine = sa.create_engine(parsed)
        sa.event.listen(engine, "connect", _prepare)
        sa.event.listen(engine, "begin", _begin)
    else:
        engine = sa.create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    with engine.begin() as connection:
        _metadata.create_all(connection)
        found = connection.execute(sa.select(_schema.c.number)).scalar()
        if found is None:
            connection.execute(sa.insert(_schema).values(number=_SCHEMA))
        elif found != _SCHEMA:
            raise ServiceError(f"the record of retrainings is of version {found}, not {_SCHEMA}")
    return Rows(engine)


def _prepare(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI object
    connection.isolation_level = None
    for pragma in (f"busy_timeout={_BUSY_MILLISECONDS}", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _retraining(row: Any) -> Retraining:  # noqa: ANN401 - a row of ours
    return Retraining(
        retraining_id=row.retraining_id,
        request=Request(**json.loads(row.request)),
        key=row.idempotency_key,
        status=row.status,
        step=row.step,
        attempt=row.attempt,
        cancelled_by=row.cancelled_by,
        facts=json.loads(row.facts),
        reason=row.reason,
        created_at=read_moment(row.created_at),
        changed_at=read_moment(row.changed_at),
    )
