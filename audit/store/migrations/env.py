"""Alembic's entry: run the migrations on the connection that `audit.store.migration` passes in."""

from alembic import context

from audit.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by making it anew
)
context.run_migrations()
