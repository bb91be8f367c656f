"""What charts read without the history: points of each watch, sums per hour, histograms.

And a table for the decisions of the policy. The sums are made from the measures that are there;
the points begin now, because no detector kept its past.
"""

import json
import math
from collections import defaultdict
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.engine import Connection

revision = "0004"
down_revision = "0003"

_ONE, _BINS, _HOUR = 2**30, 20, 13
_AT_ONCE = 1000
_NAMED = ("model", "name", "source", "version", "class_label")
_HOURLY = ["n", "total", "squares"]
_CONFIDENCE = (
    "SELECT model, 'confidence', '', version, class_label, event_time, confidence"
    " FROM predictions WHERE stream = 'live'"
)
_MEASURES = (
    "SELECT m.model, m.name, m.source, m.version, m.class_label, m.event_time, m.value"
    " FROM measures m JOIN predictions p ON p.prediction_id = m.prediction_id"
    " WHERE m.current AND p.stream = 'live'"
)


def upgrade() -> None:
    """Create the tables and fill the sums."""
    _create_points()
    _create_sums()
    _create_decisions()
    op.create_index("ix_measures_model_event_time", "measures", ["model", "event_time"])
    connection = op.get_bind()
    _name_states(connection)
    _fill_sums(connection)


def _create_points() -> None:
    op.create_table(
        "points",
        sa.Column("watch_id", sa.Text(), nullable=False),
        sa.Column("observations", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("peak", sa.Float(), nullable=False),
        sa.Column("cusum", sa.Float(), nullable=True),
        sa.Column("cusum_peak", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("watch_id", "observations", name=op.f("pk_points")),
    )


def _create_sums() -> None:
    for table, place, sums in (
        ("hours", sa.Column("hour", sa.String(length=13), nullable=False), _HOURLY),
        ("histograms", sa.Column("bin", sa.Integer(), autoincrement=False, nullable=False), ["n"]),
    ):
        op.create_table(
            table,
            sa.Column("model", sa.Text(), nullable=False),
            sa.Column("name", sa.Text(), nullable=False),
            sa.Column("source", sa.String(length=16), nullable=False),
            sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("class_label", sa.Text(), nullable=False),
            place,
            *(sa.Column(name, sa.BigInteger(), nullable=False) for name in sums),
            sa.PrimaryKeyConstraint(*_NAMED, place.name, name=op.f(f"pk_{table}")),
        )


def _create_decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("event_time", sa.String(length=27), nullable=False),
        sa.Column("retrain", sa.Boolean(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("alarm_ids", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_decisions")),
    )
    op.create_index("ix_decisions_model_seq", "decisions", ["model", "seq"])


def _name_states(connection: Connection) -> None:
    """Say of each stored state which model version it is about: its key says so."""
    with op.batch_alter_table("detector_states") as batch:
        batch.add_column(sa.Column("model", sa.Text(), nullable=True))
        batch.add_column(sa.Column("version", sa.Integer(), nullable=True))
    for key in connection.execute(sa.text("SELECT stream FROM detector_states")).scalars().all():
        series = json.loads(key)
        connection.execute(
            sa.text("UPDATE detector_states SET model = :m, version = :v WHERE stream = :k"),
            {"m": series["model"], "v": series["version"], "k": key},
        )
    with op.batch_alter_table("detector_states") as batch:
        batch.alter_column("model", existing_type=sa.Text(), nullable=False)
        batch.alter_column("version", existing_type=sa.Integer(), nullable=False)
        batch.create_index("ix_detector_states_model_version", ["model", "version"])


def _fill_sums(connection: Connection) -> None:
    hours: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    bins: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0])
    for wanted in (_CONFIDENCE, _MEASURES):
        portions = {"yield_per": _AT_ONCE}
        for row in connection.execute(sa.text(wanted), execution_options=portions):
            *named, event_time, value = row
            key = tuple(named)
            sums = hours[(*key, event_time[:_HOUR])]
            for place, term in enumerate((1.0, value, value**2)):
                sums[place] += math.floor(term * _ONE + 0.5) if place else 1
            bins[(*key, min(_BINS - 1, max(0, math.floor(value * _BINS))))][0] += 1
    _insert(connection, "hours", (*_NAMED, "hour", *_HOURLY), hours)
    _insert(connection, "histograms", (*_NAMED, "bin", "n"), bins)


def _insert(
    connection: Connection,
    table: str,
    names: tuple[str, ...],
    sums: dict[tuple[Any, ...], list[int]],
) -> None:
    rows = [dict(zip(names, (*key, *each), strict=True)) for key, each in sums.items()]
    into = sa.table(table, *(sa.column(name) for name in names))
    for start in range(0, len(rows), _AT_ONCE):
        connection.execute(sa.insert(into), rows[start : start + _AT_ONCE])
