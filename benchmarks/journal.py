"""How long a journal entry takes to be durable, beside a bare write and fsync of the same bytes.

    python benchmarks/journal.py [--quick] [--json FILE] [--folder FOLDER]

The entries are answers as the gateway records them. One thread appends strictly, eight threads
share syncs as a busy server does; the peer has the same threads, bytes and file system, and no
more than `os.write` and `os.fdatasync`. The rounds alternate, so that a slow moment of the disk
hits both.
"""

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import flat
import numpy as np

from audit import canonical, records
from audit.canonical import Packed
from audit.journal.writer import Durability, Writer

THREADS = 8
# Ours may add the checksum and a look at the room left to what the disk takes; sharing syncs must
# pay for itself.
MOST_RATIO = 1.5
LEAST_GAIN = 2.0
Append = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Row:
    """What appending took.

    Attributes:
        name: How it was appended.
        threads: How many appended at the same time.
        p50: Median milliseconds of an append.
        p99: The same, of the slowest hundredth.
        per_second: Records per second of all threads together.
    """

    name: str
    threads: int
    p50: float
    p99: float
    per_second: float


def main() -> int:
    """Append, print, and answer whether the journal keeps to its share of the disk."""
    parser = argparse.ArgumentParser(description="Latency of durable journal entries.")
    parser.add_argument("--quick", action="store_true", help="under half a minute")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: here")
    flat.add_argument(parser)
    asked = parser.parse_args()
    entries, rounds = entry_bytes(), 3 if asked.quick else 10
    with tempfile.TemporaryDirectory(dir=asked.folder or Path.cwd()) as folder:
        rows = measure(Path(folder), entries, rounds, appends=200 if asked.quick else 1000)
    size = statistics.median(map(len, entries))
    print(f"\nEntries of {size:,.0f} bytes, {rounds} rounds of each\n")
    print(f"{'how':34}{'threads':>9}{'p50 ms':>10}{'p99 ms':>10}{'records/s':>12}")
    for row in rows:
        figures = f"{row.p50:>10.3f}{row.p99:>10.3f}{row.per_second:>12,.0f}"
        print(f"{row.name:34}{row.threads:>9}{figures}")
    ratio = rows[0].p50 / rows[1].p50
    print(f"\njournal ÷ bare, p50, one thread: {ratio:.2f} (at most {MOST_RATIO})")
    gain = rows[3].per_second / rows[2].per_second
    print(f"group ÷ strict, records/s, {THREADS} threads: {gain:.2f} (at least {LEAST_GAIN})")
    found = {"rows": rows, "ratio_p50": ratio, "group_gain": gain, "bytes": size}
    flat.write(asked.json, found)
    return 0 if ratio <= MOST_RATIO and gain >= LEAST_GAIN else 1


def entry_bytes(count: int = 64) -> list[bytes]:
    """Return canonical answers of ten classes with an embedding of 1,280 features."""
    rng = np.random.default_rng(1)
    return [records.to_bytes(_answer(rng, number)) for number in range(count)]


def measure(folder: Path, entries: Sequence[bytes], rounds: int, *, appends: int) -> list[Row]:
    """Return a row per way of appending: alone, bare, then together strict, grouped, bare."""
    ways: list[tuple[str, int, Callable[[Path], Iterator[Append]]]] = [
        ("journal, strict (fsync)", 1, _journal("fsync")),
        ("bare write + fdatasync", 1, _bare),
        ("journal, strict (fsync), together", THREADS, _journal("fsync")),
        ("journal, group", THREADS, _journal("group")),
        ("bare write + fdatasync, together", THREADS, _bare),
    ]
    taken: list[list[float]] = [[] for _ in ways]
    seconds = [0.0 for _ in ways]
    for number in range(rounds):
        for place, (_, threads, opened) in enumerate(ways):
            here = folder / f"{number}-{place}"
            here.mkdir()
            with contextmanager(opened)(here) as append:
                began = time.perf_counter()
                taken[place] += _appended(append, entries, threads, appends)
                seconds[place] += time.perf_counter() - began
    return [
        Row(
            name,
            threads,
            float(np.percentile(each, 50)) * 1e3,
            float(np.percentile(each, 99)) * 1e3,
            len(each) / total,
        )
        for (name, threads, _), each, total in zip(ways, taken, seconds, strict=True)
    ]


def _appended(append: Append, entries: Sequence[bytes], threads: int, appends: int) -> list[float]:
    """Return the seconds of each append, `appends` in all threads together."""
    taken: list[list[float]] = [[] for _ in range(threads)]

    def work(own: list[float]) -> None:
        for number in range(appends // threads):
            began = time.perf_counter()
            append(entries[number % len(entries)])
            own.append(time.perf_counter() - began)

    working = [threading.Thread(target=work, args=(own,)) for own in taken]
    for each in working:
        each.start()
    for each in working:
        each.join()
    return [second for own in taken for second in own]


def _journal(durability: Durability) -> Callable[[Path], Iterator[Append]]:
    def opened(folder: Path) -> Iterator[Append]:
        with Writer(folder, "benchmark", durability) as writer:
            yield lambda entry: writer.append([entry])

    return opened


def _bare(folder: Path) -> Iterator[Append]:
    descriptor = os.open(folder / "bare", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def append(entry: bytes) -> None:
        os.write(descriptor, entry + b"\n")
        os.fdatasync(descriptor)

    try:
        yield append
    finally:
        os.close(descriptor)


def _answer(rng: np.random.Generator, number: int) -> records.PredictionRecord:
    probabilities = rng.dirichlet(np.ones(10)).astype(np.float32)
    decided = int(probabilities.argmax())
    rated = records.RatedClass(decided, str(decided), round(float(probabilities[decided]), 6))
    return records.PredictionRecord(
        event_id=f"{number:026d}",
        event_time=datetime(2026, 3, 1, 12, tzinfo=UTC),
        model=records.ModelRef("digits", 1, "sha256:" + "ab" * 32),
        classes=(rated,),
        probabilities=Packed.of(probabilities, "<f4"),
        target=rated,
        explainer="gradcam/1",
        heatmap=canonical.packed_shares(rng.random((7, 7))),
        embedding=Packed.of(rng.normal(size=1280), "<f2"),
        region=records.RegionEvidence(
            "client", "", canonical.packed_shares(rng.random((7, 7))), 0.25
        ),
        measures={"activation_recall": 0.6, "relevance_mass": 0.5, "chance": 0.25},
    )


if __name__ == "__main__":
    sys.exit(main())
