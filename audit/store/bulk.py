"""Many rows into one table at once: one statement a table, whichever the database.

PostgreSQL takes a column as one array, SQLite a list of tuples; both leave out what a statement
per row, or the naming of every value, would cost. An ingestion spends its time here.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

_ARRAYS: tuple[tuple[type[Any], str], ...] = (
    (sa.BigInteger, "bigint[]"),
    (sa.Integer, "integer[]"),
    (sa.Float, "double precision[]"),
    (sa.Boolean, "boolean[]"),
    (sa.LargeBinary, "bytea[]"),
    (sa.String, "text[]"),
)


def insert(
    connection: Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, object]],
    *,
    summed: bool = False,
) -> None:
    """Insert rows, each with the columns of the first.

    Args:
        connection: The transaction.
        table: Where to.
        rows: May be empty.
        summed: Add to a row of the same key instead of failing.
    """
    if not rows:
        return
    names = tuple(rows[0])
    postgresql = connection.dialect.name == "postgresql"
    statement = _statement(table, names, postgresql=postgresql, summed=summed)
    if postgresql:
        connection.exec_driver_sql(statement, tuple([row[name] for row in rows] for name in names))
    else:
        connection.exec_driver_sql(statement, [tuple(row[name] for name in names) for row in rows])


@cache
def _statement(table: sa.Table, names: tuple[str, ...], *, postgresql: bool, summed: bool) -> str:
    """Return the statement; every name in it is one of our own tables' and columns'."""
    listed = ", ".join(f'"{name}"' for name in names)
    if postgresql:
        arrays = ", ".join(f"%s::{_array(table.c[name])}" for name in names)
        values = f"SELECT * FROM unnest({arrays})"  # noqa: S608
    else:
        values = f"VALUES ({', '.join('?' for _ in names)})"
    statement = f'INSERT INTO "{table.name}" ({listed}) {values}'
    if not summed:
        return statement
    keys = [column.name for column in table.primary_key.columns]
    sums = ", ".join(
        f'"{name}" = "{table.name}"."{name}" + excluded."{name}"'
        for name in names
        if name not in keys
    )
    held = ", ".join(f'"{key}"' for key in keys)
    return f"{statement} ON CONFLICT ({held}) DO UPDATE SET {sums}"


def _array(column: sa.Column[object]) -> str:
    return next(name for kind, name in _ARRAYS if isinstance(column.type, kind))
