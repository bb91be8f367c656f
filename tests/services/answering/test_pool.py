import asyncio
import threading
from collections.abc import Callable
from time import perf_counter, sleep

import pytest

from services.answering.pool import Pool
from services.errors import DeadlineError


def run(pool, *works: Callable[[], object]) -> list:
    async def together() -> list:
        return await asyncio.gather(*(pool.run(each) for each in works), return_exceptions=True)

    try:
        return asyncio.run(together())
    finally:
        pool.close()


def test_work_returns_or_raises() -> None:
    assert [7] == run(Pool(1, 5), lambda: 7)
    assert isinstance(run(Pool(1, 5), lambda: 1 // 0)[0], ZeroDivisionError)


def test_no_more_run_at_a_time_than_there_are_threads() -> None:
    running, most = set(), []

    def work() -> None:
        running.add(threading.get_ident())
        most.append(len(running))
        sleep(0.02)
        running.discard(threading.get_ident())

    run(Pool(2, 5), *[work] * 8)

    assert max(most) == 2


def test_what_waits_too_long_is_never_begun() -> None:
    begun = []

    def slow() -> None:
        begun.append(1)
        sleep(0.4)

    start = perf_counter()
    outcomes = run(Pool(1, 0.1), *[slow] * 5)

    assert all(isinstance(each, DeadlineError) for each in outcomes)
    assert [1] == begun
    assert perf_counter() - start < 2


def test_a_thread_stays_taken_until_its_work_is_done() -> None:
    """Otherwise timeouts would pile up computations behind a server that looks idle."""
    order = []

    async def scenario(pool) -> None:
        with pytest.raises(DeadlineError):
            await pool.run(lambda: (sleep(0.3), order.append("abandoned")))
        await pool.run(lambda: order.append("next"))

    pool = Pool(1, 0.25)
    asyncio.run(scenario(pool))
    pool.close()

    assert ["abandoned", "next"] == order


def test_the_next_request_is_computed_while_the_disk_is_waited_for() -> None:
    """One computing thread, a slow disk: five requests wait for it together."""

    async def scenario(pool) -> list[int]:
        return await asyncio.gather(
            *(pool.run_and_write(lambda n=n: n, lambda n: (sleep(0.2), n)[1]) for n in range(5))
        )

    pool, start = Pool(1, 5), perf_counter()
    found = asyncio.run(scenario(pool))
    pool.close()

    assert [0, 1, 2, 3, 4] == found
    assert perf_counter() - start < 0.8


def test_one_deadline_holds_for_both() -> None:
    async def scenario(pool) -> None:
        with pytest.raises(DeadlineError):
            await pool.run_and_write(lambda: sleep(0.15), lambda _: sleep(0.15))

    pool = Pool(1, 0.2)
    asyncio.run(scenario(pool))
    pool.close()
