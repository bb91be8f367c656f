"""One ONNX Runtime session, and how its batches are divided for the machine it runs on."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models import providers, stopping, workload
from models.providers import Device

LARGEST_RUN: Final = 32  # images: bounds the memory of one run

_CPU: Final = "CPUExecutionProvider"


class GraphSession:
    """Runs a graph. Safe to call in threads.

    On a CPU a run takes as many images as the caches hold (`workload`). Where the operators are
    small each run has one thread, and the runs of a batch share the threads.
    """

    def __init__(self, content: bytes, *, device: Device, threads: int) -> None:
        """Load the graph in `content`; see `providers.open_graph` for what it raises."""
        work = workload.of_graph(content)
        light = work.is_light and device in {"cpu", "auto"}
        self.session = providers.open_graph(
            content, device=device, threads=1 if light else threads
        )
        self._images = LARGEST_RUN
        self._pool: ThreadPoolExecutor | None = None
        if self.session.get_providers()[0] == _CPU:
            self._images = work.images_per_run(LARGEST_RUN)
            cores = threads or len(os.sched_getaffinity(0))
            if light and cores > 1:
                self._pool = ThreadPoolExecutor(cores, thread_name_prefix="graph")

    def run(
        self, outputs: Sequence[str] | None, feed: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[Any]]:
        """Return the named outputs, or all of them, for inputs that share their first axis.

        Raises:
            Exception: What ONNX Runtime raises, one of `providers.runtime_errors`.
        """
        count = len(next(iter(feed.values())))
        if count <= self._images:
            return self._once(outputs, feed, stopping.current())
        parts = [
            {name: each[start : start + self._images] for name, each in feed.items()}
            for start in range(0, count, self._images)
        ]
        run = map if self._pool is None else self._pool.map
        stop = stopping.current()  # the pool's threads are not the one that heeds it
        answers = list(run(lambda part: self._once(outputs, part, stop), parts))
        return [np.concatenate(each) for each in zip(*answers, strict=True)]

    def _once(
        self,
        outputs: Sequence[str] | None,
        feed: Mapping[str, NDArray[Any]],
        stop: stopping.Stop | None,
    ) -> list[NDArray[Any]]:
        if stop is None:
            whole: list[NDArray[Any]] = self.session.run(outputs, feed)
            return whole
        with stop.running() as options:
            heeded: list[NDArray[Any]] = self.session.run(outputs, feed, options)
            return heeded
