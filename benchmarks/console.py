"""How long the console's pages take with a full store.

    python benchmarks/console.py           # 100,000 answers, about two minutes to fill
    python benchmarks/console.py --quick   # 5,000 answers

Answers with heatmap, region and ten measures each, spread over 60 days, in SQLite; every page is
asked for twenty times in this process, after one that opens the store. The figures are the
server's time: from the request to the last byte of the page; "cpu ms" is what of it was computing,
which says what a page costs even where the machine is busy with other things.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import perf_counter, process_time

from services import secret

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
from fastapi import FastAPI

from audit import records
from audit.journal import lines
from audit.journal.lines import Place
from audit.store import connections
from audit.store.ledger import Ledger
from models.registry import Registry
from services import clock, wiring
from services.identifiers import identifier
from services.settings import Settings
from services.web import rest
from tests import entries, graphs

DAYS = 60
BATCH = 500
ROUNDS = 20
MODEL = "colours"
PAGES = ("/", f"/models/{MODEL}", f"/review?model={MODEL}", "/alarms", f"/try?model={MODEL}")
ANSWER = "/trail/{answer}"
TRAIL = (
    ANSWER,
    "/trail",
    f"/trail?model={MODEL}&version=1&class=7",
    "/trail?kind=review",
    "/trail/{answer}",
)
EXTRA = ("recall_chance", "thresholded_recall", "activation_precision", "chance", "iou")


def main() -> None:
    """Fill a store, ask for every page, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5,000 answers")
    answers = 5_000 if parser.parse_args().quick else 100_000
    with tempfile.TemporaryDirectory() as folder:
        chosen = Settings(home=Path(folder), device="cpu", threads=1, default_model=MODEL)
        registry = Registry(chosen.registry)
        registry.add(MODEL, graphs.write_version(Path(folder) / "made"), now=clock.now())
        registry.promote(MODEL, 1, reason="benchmark", actor="benchmark", now=clock.now())
        start = perf_counter()
        _fill(chosen, answers)
        print(f"{answers} answers stored in {perf_counter() - start:.0f} s")
        application = rest.create()
        rest.connect(application, wiring.connect(chosen))
        asyncio.run(_measure(application))


def _fill(chosen: Settings, answers: int) -> None:
    ledger = Ledger(connections.open_writer(chosen.store), secret.secret_key(chosen.chain_key))
    ledger.prepare(now=clock.now())
    offset, chunk = 0, []
    for record in _records(answers):
        offset += 100
        place = Place(lines.Segment("w", 1), offset, 0)
        chunk.append((record, records.to_bytes(record), place))
        if len(chunk) == BATCH:
            with ledger.batch(now=clock.now()) as batch:
                batch.ingest(chunk)
            chunk = []
    ledger.engine.dispose()


def _records(answers: int) -> Iterator[records.PredictionRecord]:
    end = clock.now()
    step = timedelta(days=DAYS) / answers
    for number in range(answers):
        now = end - step * (answers - number)
        made = entries.prediction(number)
        measures = {**made.measures, **dict.fromkeys(EXTRA, 0.25)}
        ref = records.ModelRef(MODEL, 1, entries.MODEL.digest)
        yield replace(
            made,
            event_id=identifier(now),
            event_time=now,
            model=ref,
            measures=measures,
            image="0" * 64,
        )


async def _measure(application: FastAPI) -> None:
    print(f"{'page':<40}{'median ms':>10}{'slowest ms':>11}{'cpu ms':>8}{'bytes':>8}")
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        newest = (await client.get("/trail")).text.split('<a href="/trail/')[1].split('"')[0]
        for template in (*PAGES, *TRAIL):
            path = template.replace("{answer}", newest)
            await client.get(path)
            times, used = [], process_time()
            for _ in range(ROUNDS):
                start = perf_counter()
                reply = await client.get(path)
                times.append(1000 * (perf_counter() - start))
                reply.raise_for_status()
            used = 1000 * (process_time() - used) / ROUNDS
            shown = f"{statistics.median(times):>10.0f}{max(times):>11.0f}{used:>8.0f}"
            print(f"{template:<40}{shown}{len(reply.content):>8}")


if __name__ == "__main__":
    main()
