"""Runs jobs so that what one raises harms no other.

A loop that lives for ever does many things for many models. One bad file, version or row must not
end it, nor keep it from the others: each job runs for itself, its failure is said once and again
when it changes, and it is tried again the next time round.
"""

import logging
import threading
from collections.abc import Callable, Mapping


class Isolation:
    """Jobs by name, and which of them fail at present; safe in threads."""

    def __init__(self, log: logging.Logger, foreseen: tuple[type[Exception], ...] = ()) -> None:
        """Know of no job yet.

        Args:
            log: Where failures are said.
            foreseen: Errors whose message says enough; others are logged with their traceback.
        """
        self._log, self._foreseen = log, foreseen
        self._failing: dict[str, str] = {}
        self._lock = threading.Lock()

    def run(self, name: str, job: Callable[..., object], *args: object) -> bool:
        """Run a job; return whether it came to its end.

        Args:
            name: What it does, for whom; the same at every turn.
            job: May raise whatever it likes.
            args: What it is called with.
        """
        try:
            job(*args)
        except Exception as error:  # noqa: BLE001 - what it may be cannot be listed
            said = f"{type(error).__name__}: {error}"
            with self._lock:
                known = self._failing.get(name) == said
                self._failing[name] = said
            if not known:
                traceback = not isinstance(error, self._foreseen)
                said = "%s failed and will be tried again: %s"
                self._log.error(said, name, error, exc_info=traceback)
            return False
        with self._lock:
            failed = self._failing.pop(name, None)
        if failed is not None:
            self._log.info("%s works again", name)
        return True

    def forget(self, name: str) -> None:
        """Say nothing more about a job that is not run any longer."""
        with self._lock:
            self._failing.pop(name, None)

    @property
    def failing(self) -> Mapping[str, str]:
        """Job → what it said last, of those that fail at present."""
        with self._lock:
            return dict(self._failing)
