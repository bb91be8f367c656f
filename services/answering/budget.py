"""How many pixels requests may ask to have decoded: each, and all at a time.

Bytes say little: 35 kB of lossless WebP hold 800 million pixels and a minute of work.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from services.errors import OverloadedError, TooLargeError


class Budget:
    """Counts the pixels that are being decoded; safe in threads.

    Args:
        each: Most pixels of the images of one request.
        together: Most pixels of all requests that are decoded at a time.
    """

    def __init__(self, each: int = 100_000_000, together: int = 200_000_000) -> None:
        self._each, self._together = each, together
        self._taken = 0
        self._lock = threading.Lock()

    @contextmanager
    def taking(self, pixels: int) -> Iterator[None]:
        """Count pixels for the time of the block.

        Args:
            pixels: By the images' headers.

        Raises:
            TooLargeError: If they are more than one request may ask for.
            OverloadedError: If others are decoding too many now; alone, any request passes.
        """
        if pixels > self._each:
            raise TooLargeError(
                f"the images have {pixels} pixels together; at most {self._each} in one request"
            )
        with self._lock:
            if self._taken and self._taken + pixels > self._together:
                raise OverloadedError("too many pixels are being decoded now")
            self._taken += pixels
        try:
            yield
        finally:
            with self._lock:
                self._taken -= pixels
