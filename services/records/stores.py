"""The audit store as the workers see it: read-only, opened when it is there."""

import threading

from sqlalchemy.exc import SQLAlchemyError

from audit.errors import StoreError
from audit.store import connections, migration
from audit.store.queries import Reading


class StoreReader:
    """Opens the store at the first question after the auditor has made it; safe in threads.

    Attributes:
        url: The store's URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._reading: Reading | None = None
        self._lock = threading.Lock()

    def __call__(self) -> Reading | None:
        """Return the store; None where there is none yet."""
        with self._lock:
            if self._reading is None:
                self._reading = self._open()
            return self._reading

    def require(self) -> Reading:
        """Return the store.

        Raises:
            StoreError: If there is none yet.
        """
        reading = self()
        if reading is None:
            raise StoreError("there is no audit store yet; the auditor makes it when it starts")
        return reading

    def close(self) -> None:
        """Close the connections; the next question opens them again."""
        with self._lock:
            if self._reading is not None:
                self._reading.engine.dispose()
                self._reading = None

    def _open(self) -> Reading | None:
        try:
            engine = connections.open_reader(self.url)
        except StoreError:
            return None
        try:
            with engine.begin() as connection:
                migration.require_current(connection)
        except (SQLAlchemyError, StoreError):
            engine.dispose()
            return None
        return Reading(engine)
