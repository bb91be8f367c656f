"""Threads of a worker that decode and compute, with a deadline for whoever waits for them.

The deadline of a request that still waits takes it out of the queue. One that is being computed
is told that nobody waits: it ends before its next image, or in the middle of its graph. Until then
its thread stays taken and the next request waits for it: computing never exceeds the threads.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from models import stopping
from models.stopping import Stop
from services import tracing
from services.errors import DeadlineError

Result = TypeVar("Result")
Final = TypeVar("Final")
# Writing waits for the disk; several waiting at a time share one sync.
WRITERS = 16


class Pool:
    """A fixed number of threads that compute, and others that wait for the disk.

    Args:
        threads: That compute.
        deadline_seconds: From asking to having it.
    """

    def __init__(self, threads: int, deadline_seconds: float) -> None:
        self._computing = ThreadPoolExecutor(threads, thread_name_prefix="compute")
        self._writing = ThreadPoolExecutor(WRITERS, thread_name_prefix="write")
        self._deadline = deadline_seconds

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns, or raise what it raises.

        Raises:
            DeadlineError: If it is not done in time.
        """
        return await self._within(self._deadline, self._computing, work)

    async def run_and_write(
        self, work: Callable[[], Result], write: Callable[[Result], Final]
    ) -> Final:
        """Return what `write` makes of what `work` returns, or raise what either raises.

        The thread that computed goes on to the next request while the disk is waited for.

        Raises:
            DeadlineError: If both together are not done in time.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self._deadline
        result = await self._within(self._deadline, self._computing, work)
        return await self._within(end - loop.time(), self._writing, lambda: write(result))

    def close(self) -> None:
        """Let what is being computed end, drop what waits."""
        self._computing.shutdown(wait=True, cancel_futures=True)
        self._writing.shutdown(wait=True, cancel_futures=True)

    async def _within(
        self, seconds: float, threads: ThreadPoolExecutor, work: Callable[[], Result]
    ) -> Result:
        queued, stop = tracing.begin("queue"), Stop()
        begun = False

        def taken() -> Result:
            nonlocal begun
            begun = True
            queued()
            with stopping.heeding(stop):
                return work()

        carried = tracing.carried(taken)
        waiting = asyncio.get_running_loop().run_in_executor(threads, carried)
        try:
            return await asyncio.wait_for(waiting, max(0.0, seconds))
        except asyncio.CancelledError:
            stop.stop()
            raise
        except TimeoutError:
            stop.stop()
            if not begun:
                queued()
            raise DeadlineError(f"no answer within {self._deadline:g} seconds") from None
