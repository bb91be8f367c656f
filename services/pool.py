"""Threads of a worker that decode and compute, with a deadline for whoever waits for them.

The deadline of a request that still waits takes it out of the queue; one that is being computed
cannot be stopped, so its thread stays taken until it is done and the next request waits for it:
computing never exceeds the threads.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from services.errors import DeadlineError

Result = TypeVar("Result")


class Pool:
    """A fixed number of threads."""

    def __init__(self, threads: int, deadline_seconds: float) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="answer")
        self._deadline = deadline_seconds

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns, or raise what it raises.

        Raises:
            DeadlineError: If it is not done in time.
        """
        waiting = asyncio.get_running_loop().run_in_executor(self._executor, work)
        try:
            return await asyncio.wait_for(waiting, self._deadline)
        except TimeoutError:
            raise DeadlineError(f"no answer within {self._deadline:g} seconds") from None

    def close(self) -> None:
        """Let what is being computed end, drop what waits."""
        self._executor.shutdown(wait=True, cancel_futures=True)
