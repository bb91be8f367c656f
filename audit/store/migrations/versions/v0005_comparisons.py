"""What candidates on trial made of live requests."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Bring the tables forward."""
    op.create_table(
        "comparisons",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rollout_id", sa.Text(), nullable=False),
        sa.Column("phase", sa.String(length=8), nullable=False),
        sa.Column("prediction_id", sa.Text(), nullable=False),
        sa.Column("event_time", sa.String(length=27), nullable=False),
        sa.Column("failure", sa.Text(), nullable=False),
        sa.Column("agrees", sa.Boolean(), nullable=True),
        sa.Column("recall_fall", sa.Float(), nullable=True),
        sa.Column("milliseconds", sa.Float(), nullable=True),
        sa.Column("champion_milliseconds", sa.Float(), nullable=True),
        sa.Column("dropped", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_comparisons")),
    )
    op.create_index("ix_comparisons_rollout_id_phase", "comparisons", ["rollout_id", "phase"])
