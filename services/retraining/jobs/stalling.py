"""Notices that a training no longer moves: its progress has not grown for too long."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path


class Stall:
    """Looks at files of progress; asked again and again.

    Args:
        paths: The files; one that is not there has not moved.
        limit_seconds: Longest time without growth; 0 for no limit.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        limit_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths, self._limit, self._clock = tuple(paths), limit_seconds, clock
        self._size, self._since = self._measured(), clock()

    def has_stalled(self, *, waiting: bool = False) -> bool:
        """Return whether the training has not moved for longer than the limit.

        Args:
            waiting: It has not begun yet, so that nothing can have moved.
        """
        now, size = self._clock(), self._measured()
        if waiting or size != self._size:
            self._size, self._since = size, now
        return 0 < self._limit < now - self._since

    def _measured(self) -> int:
        total = 0
        for path in self._paths:
            with suppress(FileNotFoundError):
                total += path.stat().st_size
        return total
