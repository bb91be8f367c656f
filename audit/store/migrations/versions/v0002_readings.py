"""Who read an answer as which reader, exemplars, and answers that wait for a second reading."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns, with what was meant before there were any, and the table."""
    with op.batch_alter_table("reviews") as table:
        table.add_column(
            sa.Column("reading", sa.String(length=16), nullable=False, server_default="first")
        )
        table.add_column(
            sa.Column("exemplar", sa.String(length=8), nullable=False, server_default="")
        )
        table.add_column(sa.Column("label", sa.Text(), nullable=True))
    op.create_table(
        "readings",
        sa.Column("prediction_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("event_time", sa.String(length=27), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("pk_readings")),
    )
