"""How much of the bare ONNX session reaches the client, beside the obvious alternative.

    python benchmarks/serving.py [--quick] [--json FILE] [--threads N]

One ResNet-18 (224 px, JPEG in, ten classes and a Grad-CAM out) is measured on this machine in
rounds, each of which runs every contestant once, so that what else happens here hits all alike:

* bare: `models.runtime.Session` on prepared pixels in memory, by one caller and by as many as a
  worker computes at a time; the better one is what there is to reach;
* rightly: the server as it is started by `rightly serve`, one worker, not recording, recording
  asynchronously, and recording strictly (answered only when synced to the disk, the default);
* peer: FastAPI + torch + pytorch-grad-cam with the same weights (benchmarks/loading/peer.py).

The load comes from one cheap process on the same machine; its own use of the processor is printed.
"cpu ms" is what the server's processes used of the processor per request: it says what a request
costs even where the machine is busy with other things.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import flat
from loading import servers

CONCURRENCY = 2
RECORDINGS = ("off", "async", "strict")
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Size:
    """How long to measure.

    Attributes:
        seconds: Of each contestant in each round.
        rounds: The median of them counts.
        clients: At a time.
        recorded: Clients with which recording is compared.
    """

    seconds: float
    rounds: int
    clients: tuple[int, ...]
    recorded: tuple[int, ...]


QUICK = Size(seconds=1.5, rounds=2, clients=(1, 8, 32), recorded=(8,))
FULL = Size(seconds=8.0, rounds=5, clients=(1, 8, 32), recorded=(1, 8, 32))
Contestants = dict[str, Callable[[], dict[str, Any]]]


def main() -> int:
    """Measure, print, and answer whether every target is met."""
    parser = argparse.ArgumentParser(description="Throughput and latency over HTTP.")
    parser.add_argument("--quick", action="store_true", help="smaller, under two minutes")
    flat.add_argument(parser)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    size = QUICK if asked.quick else FULL
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root = Path(folder)
        contestants = _contestants(root, stack, size, asked.threads)
        rows = _measured(contestants, size.rounds)
    targets = _judged(rows, size)
    _show(rows, targets)
    flat.write(asked.json, {"threads": asked.threads, "rows": rows, "targets": targets})
    return 0 if all(each["met"] for each in targets) else 1


def _contestants(root: Path, stack: ExitStack, size: Size, threads: int) -> Contestants:
    registry = servers.make_model(root, seed=1)
    image = root / "image.jpg"
    image.write_bytes(servers.jpeg(5))
    folder, seconds = registry.champion(servers.MODEL).folder, size.seconds

    def bare(callers: int) -> dict[str, Any]:
        return _ran("bare.py", str(folder), str(threads), str(callers), str(seconds))

    def loaded(server: servers.Running, clients: int) -> dict[str, Any]:
        before, asked = server.cpu_seconds(), (str(server.port), "/predict", str(clients))
        found = _ran("client.py", *asked, str(seconds), str(image))
        found["cpu_ms"] = 1000 * (server.cpu_seconds() - before) / sum(found["statuses"].values())
        return found

    found: Contestants = {
        f"bare, {callers} callers": lambda callers=callers: bare(callers)
        for callers in (1, CONCURRENCY)
    }
    running = {
        f"rightly, {recording}": stack.enter_context(
            servers.ours(root / recording, registry, threads=threads, recording=recording)
        )
        for recording in RECORDINGS
    }
    running["peer"] = stack.enter_context(servers.peer(registry, threads=threads))
    for name, server in running.items():
        compared = size.recorded if name.endswith(RECORDINGS[1:]) else size.clients
        for clients in compared:
            found[f"{name}, {clients} clients"] = lambda s=server, c=clients: loaded(s, c)
    return found


def _ran(script: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "loading" / script), *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def _measured(contestants: Contestants, rounds: int) -> dict[str, dict[str, float]]:
    """Return the median of each number over the rounds; a failed request is an error."""
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            result = run()
            failed = set(result.pop("statuses", {})) - {"200"}
            if failed:
                raise RuntimeError(f"{name} answered {sorted(failed)}")
            seen[name].append(result)
    return {
        name: {key: median(each[key] for each in results) for key in results[0]}
        for name, results in seen.items()
    }


def _judged(rows: dict[str, dict[str, float]], size: Size) -> list[dict[str, Any]]:
    """Return the promised ratios, each within this run."""
    bare = max(row["per_second"] for name, row in rows.items() if name.startswith("bare"))
    targets = []
    for clients in size.clients:
        own = rows[f"rightly, off, {clients} clients"]["per_second"]
        other = rows[f"peer, {clients} clients"]["per_second"]
        targets += [
            _target(f"share of the bare session, {clients} clients", own / bare, at_least=0.85),
            _target(f"times the peer, {clients} clients", own / other, at_least=2.0),
        ]
    for mode in RECORDINGS[1:]:
        for clients in size.recorded:
            kept = rows[f"rightly, {mode}, {clients} clients"]["per_second"]
            cost = 1 - kept / rows[f"rightly, off, {clients} clients"]["per_second"]
            limit = 0.05 if mode == "async" else None
            targets.append(
                _target(f"cost of recording, {mode}, {clients} clients", cost, at_most=limit)
            )
    return targets


def _target(
    name: str, value: float, *, at_least: float | None = None, at_most: float | None = None
) -> dict[str, Any]:
    met = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    return {"name": name, "value": value, "at_least": at_least, "at_most": at_most, "met": met}


def _show(rows: dict[str, dict[str, float]], targets: list[dict[str, Any]]) -> None:
    columns = ("per_second", "p50_ms", "p99_ms", "cpu_ms", "client_cpu_share")
    print(f"{'':28}" + "".join(f"{each.replace('_', ' '):>18}" for each in columns))
    for name, row in rows.items():
        cells = [f"{row[each]:18.2f}" if each in row else f"{'':18}" for each in columns]
        print(f"{name:28}" + "".join(cells))
    print()
    for each in targets:
        print(f"{each['name']:44}{each['value']:8.3f}   {_bound(each):14}{_word(each)}")


def _bound(target: dict[str, Any]) -> str:
    named = [(word, target[word.replace(" ", "_")]) for word in ("at least", "at most")]
    given = [f"{word} {limit}" for word, limit in named if limit is not None]
    return given[0] if given else "no target"


def _word(target: dict[str, Any]) -> str:
    if target["at_least"] is None and target["at_most"] is None:
        return ""
    return "met" if target["met"] else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
