"""Work that nobody waits for any more ends, also in the middle of a graph.

Whoever gives work to a thread makes a `Stop` and enters it there; what runs looks at it between
its parts, and ONNX Runtime is told in the middle of one.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from models.errors import StoppedError

if TYPE_CHECKING:
    from onnxruntime import RunOptions


class Stop:
    """Whether somebody still waits, and the runs to end where nobody does; safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: list[RunOptions] = []
        self.stopped = False

    def stop(self) -> None:
        """Let the work end as soon as it can."""
        with self._lock:
            self.stopped = True
            for each in self._running:
                each.terminate = True

    @contextmanager
    def running(self) -> "Iterator[RunOptions]":
        """Give the options of a run that ends when `stop` is called.

        Raises:
            StoppedError: If it has been called already.
        """
        from onnxruntime import RunOptions  # noqa: PLC0415 - a server's arbiter never needs it

        options = RunOptions()
        with self._lock:
            if self.stopped:
                raise StoppedError("nobody waits for the result any more")
            self._running.append(options)
        try:
            yield options
        finally:
            with self._lock:
                self._running.remove(options)


_CURRENT: ContextVar[Stop | None] = ContextVar("stop", default=None)
current = _CURRENT.get


@contextmanager
def heeding(stop: Stop) -> Iterator[None]:
    """Let the block, in this thread, look at `stop`."""
    token = _CURRENT.set(stop)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def check() -> None:
    """End work that nobody waits for.

    Raises:
        StoppedError: If somebody has stopped it.
    """
    stop = current()
    if stop is not None and stop.stopped:
        raise StoppedError("nobody waits for the result any more")
