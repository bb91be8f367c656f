"""Brings a store's tables to the shape that this program expects; safe to run at every start."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, Engine

from audit.errors import StoreError

_SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(engine: Engine) -> None:
    """Apply every migration that is still missing, in one transaction.

    Raises:
        StoreError: If the store was made by a later version of this program.
    """
    with engine.begin() as connection:
        if (found := revision(connection)) is not None and found not in _known():
            raise StoreError(f"the store is of revision {found}, which is newer than this program")
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def require_current(connection: Connection) -> None:
    """Check that the tables have the expected shape.

    Raises:
        StoreError: If migrations are missing or the store is newer than this program.
    """
    found, wanted = revision(connection), ScriptDirectory.from_config(_config()).get_current_head()
    if found != wanted:
        raise StoreError(f"the store is of revision {found}, this program needs {wanted}")


def revision(connection: Connection) -> str | None:
    """Return the revision of the store's tables; None for an empty database."""
    return MigrationContext.configure(connection).get_current_revision()


def is_made(engine: Engine) -> bool:
    """Whether the store has tables at all."""
    return sa.inspect(engine).has_table("events")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _known() -> set[str]:
    return {each.revision for each in ScriptDirectory.from_config(_config()).walk_revisions()}
