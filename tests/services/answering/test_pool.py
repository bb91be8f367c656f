import asyncio
import threading
from collections.abc import Callable
from time import perf_counter, sleep

import numpy as np
import pytest
from onnx import TensorProto, helper

from models import providers, stopping
from models.errors import StoppedError
from models.sessions import GraphSession
from models.stopping import Stop
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


def test_work_that_nobody_waits_for_is_told() -> None:
    """By a deadline or by leaving; what looks between its parts ends, and its thread is free."""
    ended = []

    def patient() -> None:
        try:
            for _ in range(500):
                sleep(0.01)
                stopping.check()
        except StoppedError:
            ended.append("stopped")
            raise

    async def scenario(pool) -> None:
        with pytest.raises(DeadlineError):
            await pool.run(patient)
        leaving = asyncio.create_task(pool.run(patient))
        await asyncio.sleep(0.05)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving

    pool = Pool(1, 0.2)
    asyncio.run(scenario(pool))
    pool.close()

    assert ["stopped", "stopped"] == ended


def test_a_graph_that_runs_is_ended() -> None:
    """A loop of ONNX without an end, which nothing but the runtime itself can leave."""
    loaded, stop = GraphSession(endless(), device="cpu", threads=1), Stop()
    failed = []

    def work() -> None:
        with stopping.heeding(stop):
            try:
                loaded.run(None, {"n": np.zeros(1, np.float32)})
            except providers.runtime_errors() as error:
                failed.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    sleep(0.2)
    stop.stop()
    thread.join(30)

    assert not thread.is_alive()
    assert "terminate" in failed[0]


def endless() -> bytes:
    """While true: x = x + 1."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["x", "one"], ["y"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )
    whole = helper.make_graph(
        [helper.make_node("Loop", ["", "true", "n"], ["out"], body=body)],
        "endless",
        [helper.make_tensor_value_info("n", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])],
        [helper.make_tensor("true", TensorProto.BOOL, [], [True])],
    )
    made = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())
