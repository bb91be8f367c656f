"""How many answers a second the store takes from the journal, with one writer.

    python benchmarks/ingesting.py [--quick] [--json FILE] [--store URL]

Answers as the gateway records them, ten classes, 16 features of an embedding, a region and two
measures each, are put into the store as the auditor does: batches of one transaction with chain,
projections, sums and cursor. Without `--store` a SQLite file is used, and a PostgreSQL server of
our own where its programs are installed. "projected" is the store alone; "audited" is the whole
step of the auditor, from the lines of the journal to the states of the detectors.
"""

import argparse
import cProfile
import pstats
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import flat
import numpy as np

from audit import canonical, records
from audit.canonical import Packed
from audit.journal import lines
from audit.journal.lines import Place
from audit.journal.writer import Writer
from audit.store import connections
from audit.store.anchors import AnchorFolder
from audit.store.ledger import Ledger
from audit.watch.watching import Promise, Watching
from services.auditing import ingestion
from services.auditing.ingestion import Ingestion
from services.identifiers import identifier
from services.records.images import ImageFolder
from tests import stores

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
WANTED = 5000.0


@dataclass(frozen=True, slots=True)
class Row:
    """What ingesting took.

    Attributes:
        store: Which database.
        what: "projected" or "audited".
        answers: How many.
        per_second: Answers per second.
        per_cpu_second: Answers per second of processor time that this process used; the machine's
            other work, the disk and the database's own processes are not in it.
    """

    store: str
    what: str
    answers: int
    per_second: float
    per_cpu_second: float


class NoReferences:
    """Every series learns its reference from the first records."""

    def reference(self, _series: object) -> None:
        """Return nothing."""

    def strangeness(self, _model: str, _version: int) -> None:
        """Return nothing."""


def main() -> int:
    """Ingest, print, and answer whether each store takes as many as wanted."""
    parser = argparse.ArgumentParser(description="Answers a second into the audit store.")
    parser.add_argument("--quick", action="store_true", help="under half a minute")
    parser.add_argument("--store", help="URL of a store to fill; must be empty")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    flat.add_argument(parser)
    asked = parser.parse_args()
    count = 4_000 if asked.quick else 40_000
    answers = [answer(number) for number in range(count)]
    rows = []
    with tempfile.TemporaryDirectory(prefix="rightly-ingesting-") as place:
        Path(place).chmod(0o755)
        for name, url in urls(Path(place), asked.store):
            profile = cProfile.Profile() if asked.profile else None
            rows.append(projected(name, url, answers, profile))
            print_row(rows[-1])
            if profile is not None:
                pstats.Stats(profile).sort_stats("cumulative").print_stats(35)
            if name == "SQLite":
                rows.append(audited(Path(place), answers[: count // 4]))
                print_row(rows[-1])
    flat.write(asked.json, {"rows": rows, "wanted": WANTED})
    return 0 if all(row.per_second >= WANTED for row in rows if row.what == "projected") else 1


def print_row(row: Row) -> None:
    """Print a row of the table."""
    figures = f"{row.per_second:>12,.0f} answers/s{row.per_cpu_second:>12,.0f} per CPU second"
    print(f"{row.store:12}{row.what:12}{row.answers:>9,}{figures}")


@contextmanager
def _postgresql(folder: Path) -> Iterator[str | None]:
    if stores.missing_postgresql() is not None:
        yield None
        return
    with stores.postgresql(folder) as url:
        yield url


def urls(folder: Path, store: str | None) -> Iterator[tuple[str, str]]:
    """Yield name and URL of each store to fill."""
    if store is not None:
        yield store.split(":")[0], store
        return
    yield "SQLite", f"sqlite:///{folder / 'audit.db'}"
    with _postgresql(folder / "pg") as url:
        if url is not None:
            yield "PostgreSQL", url


def projected(
    name: str, url: str, answers: list[records.PredictionRecord], profile: cProfile.Profile | None
) -> Row:
    """Ingest in batches, as the auditor does, without reading lines or watching."""
    ledger = Ledger(connections.open_writer(url), bytes(32))
    ledger.prepare(now=START)
    segment = lines.Segment("benchmark", 1)
    entries = [
        (each, records.to_bytes(each), Place(segment, number + 1, 0))
        for number, each in enumerate(answers)
    ]
    began, used = time.perf_counter(), time.process_time()
    if profile is not None:
        profile.enable()
    for start in range(0, len(entries), ingestion.BATCH):
        with ledger.batch(now=START) as batch:
            batch.ingest(entries[start : start + ingestion.BATCH])
            batch.move_cursor(entries[start : start + ingestion.BATCH][-1][2])
    if profile is not None:
        profile.disable()
    taken, used = time.perf_counter() - began, time.process_time() - used
    ledger.engine.dispose()
    return Row(name, "projected", len(entries), len(entries) / taken, len(entries) / used)


def audited(folder: Path, answers: list[records.PredictionRecord]) -> Row:
    """Take whole steps, from the journal's lines to the detectors' states."""
    with Writer(folder / "journal", "benchmark", durability="os") as journal:
        journal.append([records.to_bytes(each) for each in answers])
    work = Ingestion(
        journal=folder / "journal",
        ledger=Ledger(connections.open_writer(f"sqlite:///{folder / 'whole.db'}"), bytes(32)),
        images=ImageFolder(folder / "images"),
        anchors=AnchorFolder(folder / "anchors"),
        watching=Watching(Promise(), NoReferences()),
        identify=identifier,
    )
    work.prepare(now=START)
    began, used = time.perf_counter(), time.process_time()
    while work.step(now=START):
        pass
    taken, used = time.perf_counter() - began, time.process_time() - used
    work.ledger.engine.dispose()
    return Row("SQLite", "audited", len(answers), len(answers) / taken, len(answers) / used)


def answer(number: int) -> records.PredictionRecord:
    """Return an answer of ten classes."""
    rng = np.random.default_rng(number)
    probabilities = rng.dirichlet(np.ones(10)).astype(np.float32)
    decided = int(probabilities.argmax())
    rated = records.RatedClass(decided, str(decided), round(float(probabilities[decided]), 6))
    record = records.PredictionRecord(
        event_id=f"{number:026d}",
        event_time=START + timedelta(seconds=number / 10),
        model=records.ModelRef("digits", 1, "sha256:" + "ab" * 32),
        classes=(rated,),
        probabilities=Packed.of(probabilities, "<f4"),
        target=rated,
        explainer="gradcam/1",
        heatmap=canonical.packed_shares(rng.random((7, 7))),
        embedding=Packed.of(rng.normal(size=16), "<f2"),
        region=records.RegionEvidence(
            "client", "", canonical.packed_shares(rng.random((7, 7))), 0.25
        ),
        measures={"activation_recall": float(rng.beta(6, 4)), "relevance_mass": 0.5},
    )
    return replace(record, subject=f"subject-{number % 997}")


if __name__ == "__main__":
    sys.exit(main())
