"""Slows down whoever signs in wrongly again and again.

A right key always passes, so nobody can lock somebody else out; wrong ones are refused with 429
once there were too many from one address. Each worker counts for itself.
"""

import threading
from collections import OrderedDict, deque

MOST_ADDRESSES = 10_000


class Throttle:
    """Counts failures per address in a sliding window; safe in threads.

    Args:
        most: Failures within the window before more are refused.
        seconds: Length of the window.
    """

    def __init__(self, most: int = 10, seconds: float = 60.0) -> None:
        self._most, self._seconds = most, seconds
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def failed(self, address: str, now: float) -> float | None:
        """Count a failure.

        Args:
            address: Where it comes from.
            now: In seconds.

        Returns:
            Seconds to wait, if there were too many; else None.
        """
        with self._lock:
            times = self._failures.setdefault(address, deque(maxlen=self._most))
            self._failures.move_to_end(address)
            while times and times[0] <= now - self._seconds:
                times.popleft()
            if len(times) == self._most:
                return times[0] + self._seconds - now
            times.append(now)
            while len(self._failures) > MOST_ADDRESSES:
                self._failures.popitem(last=False)
        return None
