"""A bundle for somebody who must be able to check without us: a regulator, a court.

One ZIP file: `events.jsonl` (header, link, seal, and content with its secret where it is not
erased), `anchors.jsonl`, `manifest.json` (what it covers, digests of the files) and `check.py`,
which needs nothing but Python and checks the chain, the commitments and the anchors.
"""

import base64
import hashlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from audit import canonical
from audit.canonical import moment
from audit.errors import StoreError, UnknownRecordError
from audit.store import chain, tables
from audit.store.anchors import Anchor

CHECKER = Path(__file__).with_name("check_export.py")


@dataclass(frozen=True, slots=True)
class Exported:
    """What a bundle holds.

    Attributes:
        path: The ZIP file.
        first: Sequence number of its first event.
        last: Sequence number of its last event.
        erased: How many of them have no content any more.
        digest: SHA-256 of the ZIP file.
    """

    path: Path
    first: int
    last: int
    erased: int
    digest: str


def export(
    engine: Engine,
    path: Path,
    *,
    anchors: Sequence[Anchor],
    since: datetime | None = None,
    until: datetime | None = None,
    now: datetime,
) -> Exported:
    """Write the events that were ingested in a span of time, without a gap.

    Args:
        engine: As opened by `connections.open_reader`.
        path: The ZIP file; must not exist. A half-written one is removed.
        anchors: From `AnchorFolder.read`.
        since: The first moment; None for the beginning.
        until: The first moment that is left out; None for the end.
        now: Goes into the manifest.

    Raises:
        StoreError: If the file exists.
        UnknownRecordError: If the span holds no event.
    """
    if path.exists():
        raise StoreError(f"{path} exists")
    try:
        with engine.begin() as connection:
            first, last = _span(connection, since, until)
            erased = _write(connection, path, (first, last), anchors, now)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Exported(path, first, last, erased, hashlib.sha256(path.read_bytes()).hexdigest())


def _span(
    connection: Connection, since: datetime | None, until: datetime | None
) -> tuple[int, int]:
    table = tables.events
    wanted = sa.select(sa.func.min(table.c.seq), sa.func.max(table.c.seq))
    if since is not None:
        wanted = wanted.where(table.c.ingested_at >= moment(since))
    if until is not None:
        wanted = wanted.where(table.c.ingested_at < moment(until))
    first, last = connection.execute(wanted).one()
    if first is None:
        raise UnknownRecordError("no event was ingested in that span")
    return first, last


def _write(
    connection: Connection,
    path: Path,
    span: tuple[int, int],
    anchors: Sequence[Anchor],
    now: datetime,
) -> int:
    digest, erased = hashlib.sha256(), 0
    store_id = connection.execute(sa.select(tables.identity.c.store_id)).scalar_one()
    # For its owner alone, who hands it out.
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    with (
        os.fdopen(descriptor, "w+b") as raw,
        zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as bundle,
    ):
        with bundle.open("events.jsonl", "w", force_zip64=True) as file:
            for line, is_erased in _lines(connection, span):
                file.write(line)
                digest.update(line)
                erased += is_erased
        listed = b"".join(canonical.text(canonical.dump(each)) + b"\n" for each in anchors)
        checker = CHECKER.read_bytes()
        manifest = {
            "format": "rightly audit export 1",
            "made_at": moment(now),
            "store_id": store_id,
            "first": span[0],
            "last": span[1],
            "erased": erased,
            "before": _link_before(connection, span[0]),
            "sha256": {
                "events.jsonl": digest.hexdigest(),
                "anchors.jsonl": hashlib.sha256(listed).hexdigest(),
                "check.py": hashlib.sha256(checker).hexdigest(),
            },
        }
        bundle.writestr("anchors.jsonl", listed)
        bundle.writestr("check.py", checker)
        bundle.writestr("manifest.json", canonical.text(manifest))
    return erased


def _link_before(connection: Connection, seq: int) -> str:
    table = tables.events
    wanted = sa.select(table.c.link).where(table.c.seq == seq - 1)
    return connection.execute(wanted).scalar() or chain.GENESIS


def _lines(connection: Connection, span: tuple[int, int]) -> Iterator[tuple[bytes, bool]]:
    events, payloads = tables.events, tables.payloads
    wanted = (
        sa.select(events, payloads.c.body, payloads.c.secret)
        .select_from(events.outerjoin(payloads, events.c.seq == payloads.c.seq))
        .where(events.c.seq.between(*span))
        .order_by(events.c.seq)
    )
    for row in connection.execution_options(yield_per=500).execute(wanted).mappings():
        tree = {
            "header": {name: row[name] for name in chain.HEADER},
            "link": row["link"],
            "seal": row["seal"],
            "body": None if row["body"] is None else bytes(row["body"]).decode(),
            "secret": row["secret"] and base64.b64encode(bytes(row["secret"])).decode(),
        }
        yield canonical.text(tree) + b"\n", row["body"] is None
