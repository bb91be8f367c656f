"""The stored states of the watched series."""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit.store import tables


def load(connection: Connection) -> Mapping[str, str]:
    """Return the state of every series by its key."""
    found = connection.execute(sa.select(tables.detector_states))
    return {row.stream: row.state for row in found}


def save(connection: Connection, texts: Mapping[str, str | None], *, seq: int) -> None:
    """Store states after event `seq`; None ends a series."""
    table = tables.detector_states
    ended = [key for key, text in texts.items() if text is None]
    if ended:
        connection.execute(sa.delete(table).where(table.c.stream.in_(ended)))
    for key, text in texts.items():
        if text is None:
            continue
        known = sa.update(table).where(table.c.stream == key).values(state=text, seq=seq)
        if connection.execute(known).rowcount == 0:
            connection.execute(sa.insert(table).values(stream=key, state=text, seq=seq))
