"""What was said about an answer before it came, and which answers were erased with a subject.

Earlier versions dropped the former: it is put down here as waiting, and applied at the next start.
"""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.engine import Connection

revision = "0006"
down_revision = "0005"

_TRUTHS = ("label", "region", "review", "reading_request", "probe")
_AT_ONCE = 500


def upgrade() -> None:
    """Bring the tables forward."""
    op.create_table(
        "waiting",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("prediction_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_waiting")),
    )
    op.create_index(op.f("ix_waiting_prediction_id"), "waiting", ["prediction_id"])
    op.create_table(
        "forgotten",
        sa.Column("prediction_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("pk_forgotten")),
    )
    connection = op.get_bind()
    _forget(connection)
    _wait(connection)


def _forget(connection: Connection) -> None:
    for _, event in _events(connection, ("erasure",)):
        if event["reason"] != "subject":
            continue
        for seq in event["sequences"]:
            connection.execute(
                sa.text(
                    "INSERT INTO forgotten SELECT prediction_id FROM predictions WHERE seq = :seq "
                    "AND prediction_id NOT IN (SELECT prediction_id FROM forgotten)"
                ),
                {"seq": seq},
            )


def _wait(connection: Connection) -> None:
    place = sa.text("SELECT seq FROM predictions WHERE prediction_id = :about")
    gone = sa.text("SELECT 1 FROM forgotten WHERE prediction_id = :about")
    early = []
    for seq, event in _events(connection, _TRUTHS):
        about = {"about": event["prediction_id"]}
        came = connection.execute(place, about).scalar()
        if came is None or came > seq or connection.execute(gone, about).first() is not None:
            early.append({"seq": seq} | about)
    for row in early:
        connection.execute(sa.text("INSERT INTO waiting VALUES (:seq, :about)"), row)
        # These two were written without looking for the answer.
        for table in ("reviews", "readings"):
            connection.execute(sa.text(f"DELETE FROM {table} WHERE seq = :seq"), row)  # noqa: S608


def _events(connection: Connection, kinds: tuple[str, ...]) -> list[tuple[int, dict[str, Any]]]:
    """Return the events of some kinds that have their content; they are few beside the answers."""
    wanted = sa.text(
        "SELECT events.seq, payloads.body FROM events JOIN payloads ON payloads.seq = events.seq "
        "WHERE events.kind IN :kinds ORDER BY events.seq"
    ).bindparams(sa.bindparam("kinds", expanding=True))
    rows = connection.execute(wanted, {"kinds": kinds})
    return [(row.seq, json.loads(bytes(row.body))["event"]) for row in rows]
