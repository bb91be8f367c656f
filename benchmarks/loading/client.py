"""A client that costs little: one process, raw sockets, requests made once, answers barely read.

    python benchmarks/loading/client.py PORT PATH CLIENTS SECONDS IMAGE

Each client is a kept-alive connection that asks again as soon as it is answered. Prints one JSON
line.
"""

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from time import perf_counter, process_time

BOUNDARY = "rightly-benchmark"
WARM_UP_SECONDS = 1.0
FEWEST = 10  # requests, however long they take


def request_of(path: str, image: bytes) -> bytes:
    """Return a whole HTTP request with the image as the file part of a form."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="i.jpg"\r\n\r\n'
    )
    body = head.encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def client(
    port: int, request: bytes, end: float, done: list[tuple[float, float, int]]
) -> None:
    """Ask until `end`; append when, how long and with what status each request ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (start := perf_counter()) < end or len(done) < FEWEST:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line[15:])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        await reader.readexactly(length)
        now = perf_counter()
        done.append((now, now - start, int(head[9:12])))
    writer.close()


async def load(
    port: int, path: str, clients: int, seconds: float, image: bytes
) -> dict[str, object]:
    """Return requests per second and quantiles of the latency, after a second of warm-up."""
    done: list[tuple[float, float, int]] = []
    begin = perf_counter() + WARM_UP_SECONDS
    request, end = request_of(path, image), begin + seconds
    used = process_time()
    await asyncio.gather(*(client(port, request, end, done) for _ in range(clients)))
    last = max(end, sorted(moment for moment, _, _ in done)[FEWEST - 1])
    counted = sorted(latency for moment, latency, _ in done if begin <= moment <= last)
    statuses = Counter(status for _, _, status in done)
    return {
        "per_second": len(counted) / (last - begin),
        "p50_ms": 1000 * counted[len(counted) // 2],
        "p99_ms": 1000 * counted[min(len(counted) - 1, int(0.99 * len(counted)))],
        "statuses": {str(status): number for status, number in statuses.items()},
        "client_cpu_share": (process_time() - used) / (last - begin + WARM_UP_SECONDS),
    }


if __name__ == "__main__":
    port, path, clients, seconds, image = sys.argv[1:]
    found = asyncio.run(
        load(int(port), path, int(clients), float(seconds), Path(image).read_bytes())
    )
    print(json.dumps(found))
