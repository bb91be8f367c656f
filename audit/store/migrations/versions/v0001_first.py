"""The first shape of the store, with triggers against accidents.

The triggers keep a program's mistake from rewriting events. Against somebody who means it there
are the chain, the seals and the anchors.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SQLITE = """
CREATE TRIGGER events_no_{verb} BEFORE {verb} ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END
"""
_POSTGRESQL_FUNCTION = """
CREATE FUNCTION events_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'events are append-only'; END $$
"""
_POSTGRESQL = """
CREATE TRIGGER events_no_{verb} BEFORE {verb} ON events
FOR EACH ROW EXECUTE FUNCTION events_append_only()
"""


def upgrade() -> None:
    """Create the tables and the triggers."""
    _create_tables()
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if not is_sqlite:
        op.execute(_POSTGRESQL_FUNCTION)
    for verb in ("UPDATE", "DELETE"):
        op.execute((_SQLITE if is_sqlite else _POSTGRESQL).format(verb=verb))


def _create_tables() -> None:  # one statement per table: long, and flat
    op.create_table(
        "alarms",
        sa.Column("alarm_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("class_label", sa.Text(), nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("raised_at", sa.String(length=27), nullable=False),
        sa.Column("changed_at", sa.String(length=27), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("alarm_id", name=op.f("pk_alarms")),
    )
    op.create_index(op.f("ix_alarms_state"), "alarms", ["state"], unique=False)
    op.create_table(
        "cursors",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("segment", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("check", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_cursors")),
    )
    op.create_table(
        "detector_states",
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stream", name=op.f("pk_detector_states")),
    )
    op.create_table(
        "erasures",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("done_at", sa.String(length=27), nullable=True),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_erasures")),
    )
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("segment", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("event_time", sa.String(length=27), nullable=False),
        sa.Column("ingested_at", sa.String(length=27), nullable=False),
        sa.Column("commitment", sa.String(length=64), nullable=False),
        sa.Column("link", sa.String(length=64), nullable=False),
        sa.Column("seal", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
        sa.UniqueConstraint(
            "source", "segment", "offset", name=op.f("uq_events_source_segment_offset")
        ),
    )
    op.create_index(op.f("ix_events_event_id"), "events", ["event_id"], unique=False)
    op.create_table(
        "head",
        sa.Column("only", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("link", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("only", name=op.f("pk_head")),
    )
    op.create_table(
        "identity",
        sa.Column("only", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("store_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("only", name=op.f("pk_identity")),
    )
    op.create_table(
        "measures",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("prediction_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("class_label", sa.Text(), nullable=False),
        sa.Column("event_time", sa.String(length=27), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("seq", "name", name=op.f("pk_measures")),
    )
    op.create_index(
        "ix_measures_model_name_event_time",
        "measures",
        ["model", "name", "event_time"],
        unique=False,
    )
    op.create_index(op.f("ix_measures_prediction_id"), "measures", ["prediction_id"], unique=False)
    op.create_table(
        "payloads",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("retention", sa.String(length=16), nullable=False),
        sa.Column("ingested_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_payloads")),
    )
    op.create_index(
        "ix_payloads_retention_ingested_at", "payloads", ["retention", "ingested_at"], unique=False
    )
    op.create_index(op.f("ix_payloads_subject"), "payloads", ["subject"], unique=False)
    op.create_table(
        "predictions",
        sa.Column("prediction_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("event_time", sa.String(length=27), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("class_label", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("explainer", sa.Text(), nullable=False),
        sa.Column("stream", sa.String(length=16), nullable=False),
        sa.Column("image", sa.String(length=64), nullable=True),
        sa.Column("region_source", sa.String(length=16), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("verdict", sa.String(length=16), nullable=True),
        sa.Column("erased", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("pk_predictions")),
        sa.UniqueConstraint("seq", name=op.f("uq_predictions_seq")),
    )
    op.create_index(
        "ix_predictions_image_event_time", "predictions", ["image", "event_time"], unique=False
    )
    op.create_index(
        "ix_predictions_model_event_time", "predictions", ["model", "event_time"], unique=False
    )
    op.create_table(
        "requests",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("alarm_id", sa.Text(), nullable=True),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("opened_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_requests")),
    )
    op.create_index(op.f("ix_requests_model"), "requests", ["model"], unique=False)
    op.create_table(
        "reviews",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("prediction_id", sa.Text(), nullable=False),
        sa.Column("event_time", sa.String(length=27), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("stratum", sa.Text(), nullable=False),
        sa.Column("inclusion", sa.Float(), nullable=False),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_reviews")),
    )
    op.create_index(op.f("ix_reviews_prediction_id"), "reviews", ["prediction_id"], unique=False)
