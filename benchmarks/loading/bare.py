"""What the ONNX session alone can do: prepared images in memory, no HTTP, no decoding, no answer.

    python benchmarks/loading/bare.py FOLDER THREADS CALLERS SECONDS

Prints one JSON line with images per second of so many callers of one session.
"""

import json
import sys
import threading
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from models.runtime import Session


def rate(folder: Path, threads: int, callers: int, seconds: float) -> dict[str, float]:
    """Return images per second, each a run of its own, and what one costs of the processor."""
    session = Session.open(folder, device="cpu", threads=threads)
    shape = session.spec.preprocessing
    image = np.random.default_rng(0).integers(
        0, 256, (1, shape.height, shape.width, 3), dtype=np.uint8
    )
    counts, begin = [0] * callers, perf_counter() + 1.0

    def call(number: int) -> None:
        while (now := perf_counter()) < begin + seconds:
            session.predict(image)
            total[number] += 1
            counts[number] += now >= begin

    used, total = process_time(), [0] * callers
    running = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    cost = 1000 * (process_time() - used) / sum(total)
    return {"per_second": sum(counts) / seconds, "cpu_ms": cost}


if __name__ == "__main__":
    folder, threads, callers, seconds = sys.argv[1:]
    found = rate(Path(folder), int(threads), int(callers), float(seconds))
    print(json.dumps(found))
