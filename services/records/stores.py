"""The audit store as the workers see it: read-only, opened when it is there.

A store that was not made yet is none; one that cannot be reached, or was there and is gone, is an
error. Whoever takes the second for the first tells a person that an answer was never given.
"""

import threading
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from audit.errors import StoreError
from audit.store import anchors, connections, migration
from audit.store.queries import Reading


class StoreReader:
    """Opens the store at the first question after the auditor has made it; safe in threads.

    Attributes:
        url: The store's URL.
    """

    def __init__(self, url: str, anchors: Path | None = None) -> None:
        """Open nothing yet.

        Args:
            url: The store's URL.
            anchors: Folder that tells whether there was a store; None where nobody knows.
        """
        self.url = url
        self._anchors = anchors
        self._reading: Reading | None = None
        self._lock = threading.Lock()

    def __call__(self) -> Reading | None:
        """Return the store; None where none was made yet.

        Raises:
            StoreError: If it cannot be reached, is of another revision, or is gone.
        """
        with self._lock:
            if self._reading is None:
                self._reading = self._open()
            return self._reading

    def require(self) -> Reading:
        """Return the store.

        Raises:
            StoreError: If there is none yet, or as above.
        """
        reading = self()
        if reading is None:
            raise StoreError("there is no audit store yet; the auditor makes it when it starts")
        return reading

    @property
    def trouble(self) -> str:
        """Why the store cannot be read; "" where it can, or none was made yet."""
        try:
            reading = self()
            if reading is not None:
                with reading.connected() as connection:
                    migration.revision(connection)
        except StoreError as error:
            return str(error)
        return ""

    def close(self) -> None:
        """Close the connections; the next question opens them again."""
        with self._lock:
            if self._reading is not None:
                self._reading.engine.dispose()
                self._reading = None

    def _open(self) -> Reading | None:
        if not connections.is_there(self.url):
            self._check_never_made("its file is gone")
            return None
        engine = connections.open_reader(self.url)
        try:
            with engine.begin() as connection:
                if migration.revision(connection) is None:
                    engine.dispose()  # nothing is under way on it
                    self._check_never_made("its database is empty")
                    return None
                migration.require_current(connection)
        except SQLAlchemyError as error:
            engine.dispose()
            raise StoreError("the audit store does not answer") from error
        except StoreError:
            engine.dispose()
            raise
        return Reading(engine)

    def _check_never_made(self, how: str) -> None:
        """Refuse to take for none yet what the anchors remember."""
        if self._anchors is not None and (self._anchors / anchors.HEAD).exists():
            raise StoreError(f"the audit store was there and is gone: {how}")
