"""Suspected shortcuts, what people made of them, and the index by which a class is looked up."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Bring the tables forward."""
    op.create_table(
        "suspicions",
        sa.Column("suspicion_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("class_label", sa.Text(), nullable=False),
        sa.Column("first_found_at", sa.String(length=27), nullable=False),
        sa.Column("found_at", sa.String(length=27), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.Column("groups", sa.Integer(), nullable=False),
        sa.Column("eigengap", sa.Float(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("focus", sa.Float(), nullable=False),
        sa.Column("distance", sa.Float(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("heatmap", sa.Text(), nullable=False),
        sa.Column("examples", sa.Text(), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("suspicion_id", name=op.f("pk_suspicions")),
    )
    op.create_index(
        "ix_suspicions_model_version_class_label",
        "suspicions",
        ["model", "version", "class_label"],
        unique=False,
    )
    op.create_table(
        "suspicion_verdicts",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("suspicion_id", sa.Text(), nullable=False),
        sa.Column("event_time", sa.String(length=27), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_suspicion_verdicts")),
    )
    op.create_index(
        op.f("ix_suspicion_verdicts_suspicion_id"),
        "suspicion_verdicts",
        ["suspicion_id"],
        unique=False,
    )
    op.create_index(
        "ix_predictions_class",
        "predictions",
        ["model", "version", "class_label", "seq"],
        unique=False,
    )
