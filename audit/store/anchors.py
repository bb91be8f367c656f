"""Anchors: where the chain stood, kept outside the database.

A chain alone cannot show that its end was cut off, or that the whole database was replaced by an
older copy. So after every commit the head is written to `head.json`, and now and then appended to
`anchors.jsonl`. Put the folder where who can change the database cannot change it: another
machine's mount, or write-once storage.
"""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from audit import canonical
from audit.errors import RecordError, StoreError
from audit.journal.writer import sync_folder

HEAD, LIST = "head.json", "anchors.jsonl"
# What a person accepts of a store that is older than its anchors.
RESTORED = "restored store"
# How often the list grows; the head alone is rewritten after every commit.
EVERY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a chain stood.

    Attributes:
        store_id: The store, drawn when it was made.
        seq: Sequence number of the last event.
        link: Its link.
        at: When this was written down.
    """

    store_id: str
    seq: int
    link: str
    at: datetime


@dataclass(slots=True)
class AnchorFolder:
    """The anchors of one store.

    Attributes:
        folder: Where they lie; created when missing.
    """

    folder: Path
    _listed: datetime | None = None

    def publish(self, anchor: Anchor) -> None:
        """Write the head, and add it to the list when the last entry is old enough.

        Raises:
            OSError: If the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        text = canonical.text(canonical.dump(anchor)) + b"\n"
        draft = self.folder / f".{HEAD}.{secrets.token_hex(4)}"
        _write(draft, text, os.O_CREAT | os.O_EXCL)
        draft.rename(self.folder / HEAD)
        if self._listed is None or abs(anchor.at - self._listed) >= EVERY:
            _write(self.folder / LIST, text, os.O_CREAT | os.O_APPEND)
            self._listed = anchor.at
        sync_folder(self.folder)

    def read(self) -> Sequence[Anchor]:
        """Return all anchors, oldest first, the head last; empty where there are none.

        Raises:
            StoreError: If a file holds something else.
        """
        texts: list[bytes] = []
        for name in (LIST, HEAD):
            try:
                content = (self.folder / name).read_bytes()
            except FileNotFoundError:
                continue
            # A torn last line of the list is the same anchor as the head beside it.
            texts += [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
        try:
            return [canonical.load(Anchor, canonical.parse(text)) for text in texts]
        except RecordError as error:
            raise StoreError(f"the anchors in {self.folder} cannot be read: {error}") from error

    def set_aside(self, *, now: datetime) -> None:
        """Begin anew: the anchors so far stay in the folder under names with this moment.

        Raises:
            OSError: If the folder cannot be written.
        """
        for name in (LIST, HEAD):
            path = self.folder / name
            if path.exists():
                path.rename(self.folder / f"{now:%Y%m%dT%H%M%S.%f}-{name}")
        self._listed = None
        if self.folder.is_dir():
            sync_folder(self.folder)


def regression(known: Sequence[Anchor], end: Anchor) -> str:
    """Return why a store is not the one that its anchors know; "" where it may be.

    Args:
        known: As read from outside the database.
        end: Where the chain ends now.
    """
    if not known:
        return ""
    latest = max(known, key=lambda each: each.seq)
    if any(each.store_id != end.store_id for each in known):
        return f"it is another store than that of {latest.at.isoformat()[:19]}"
    if latest.seq > end.seq:
        return (
            f"it ends at event {end.seq}, but at {latest.at.isoformat()[:19]} it had "
            f"{latest.seq}: an older copy was put back, or its end was cut off"
        )
    if any(each.seq == end.seq and each.link != end.link for each in known):
        return f"its event {end.seq} is another one than its anchor says"
    return ""


def _write(path: Path, text: bytes, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, text)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
