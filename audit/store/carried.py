"""Where the answers of a class come from, as the latest probes of them found."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit import records
from audit.reliance.places import Place, place
from audit.store import queries, tables
from audit.watch.healthy import PART_RELIANCE

# Probes of a class that are looked at, the newest.
LATEST = 100


def where(
    connection: Connection, model: str, version: int, class_label: str, source: str
) -> Place | None:
    """Return where answers come from; None where no part of any of them was tried.

    Args:
        connection: To the store.
        model: The model's name.
        version: Its version.
        class_label: The decided class; "" for all of them.
        source: Where the regions came from that said what is irrelevant.
    """
    values = tables.measures
    wanted = (
        sa.select(values.c.seq)
        .where(values.c.model == model, values.c.version == version)
        .where(values.c.name == PART_RELIANCE, values.c.source == source, values.c.current)
        .order_by(values.c.seq.desc())
        .limit(LATEST)
    )
    if class_label:
        wanted = wanted.where(values.c.class_label == class_label)
    events = [queries.payload(connection, row.seq) for row in connection.execute(wanted).all()]
    return place(
        [
            (each.prediction_id, each.falls)
            for each in events
            if isinstance(each, records.ProbeEvent)
        ]
    )
