"""The auditor's work on a folder of its own, step by step."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from audit import policy, records
from audit.detectors.family import Series
from audit.detectors.reference import Reference
from audit.journal.writer import Writer
from audit.store import connections, states, verification
from audit.store.anchors import AnchorFolder
from audit.store.ledger import Ledger
from audit.watch.watching import Promise, Watching
from services.auditing.ingestion import Ingestion
from services.identifiers import identifier as ulid
from services.records.images import ImageFolder
from tests.entries import START, prediction

KEY = bytes(range(32))
RUNS = itertools.count()
# The policy asks for nothing: what it does depends on the time of day.
WAITING = policy.Plan(budget=0)


class FixedReferences:
    """A card that knows every class."""

    def reference(self, series: Series) -> Reference | None:
        means = {
            "activation_recall": 0.6,
            "relevance_mass": 0.5,
            "confidence": 0.9,
            "directed_flip": 0.02,
        }
        return Reference(means[series.measure], 0.15, 1000)

    def strangeness(self, _model: str, _version: int) -> None:
        return None


class NoReferences(FixedReferences):
    def reference(self, _series: Series) -> Reference | None:
        return None


def answered(
    number: int, recall: float, label: str = "7", **changes: object
) -> records.PredictionRecord:
    rated = records.RatedClass(7, label, 0.95)
    return replace(
        prediction(number),
        classes=(rated,),
        target=rated,
        embedding=None,
        measures={"activation_recall": recall, "relevance_mass": 0.5},
        **changes,
    )


def make(folder: Path, references=None, **changes: object) -> Ingestion:
    return Ingestion(
        journal=folder / "journal",
        ledger=Ledger(connections.open_writer(f"sqlite:///{folder / 'audit.db'}"), KEY),
        images=ImageFolder(folder / "images"),
        anchors=AnchorFolder(folder / "anchors"),
        watching=Watching(Promise(), references or FixedReferences()),
        identify=ulid,
        **changes,
    )


def write(folder: Path, *entries: records.Entry, source: str = "w") -> None:
    """As a worker does that ends at once."""
    with Writer(folder / "journal", f"{source}{next(RUNS):04d}") as journal:
        journal.append([records.to_bytes(each) for each in entries])


def drain(work: Ingestion, now=START) -> int:
    total = 0
    while taken := work.step(now=now):
        total += taken
    return total


def rows(work: Ingestion, table: sa.Table) -> Sequence[sa.Row]:
    with work.ledger.engine.begin() as connection:
        return connection.execute(sa.select(table)).all()


def stored_states(work: Ingestion) -> dict[str, str]:
    with work.ledger.engine.begin() as connection:
        return dict(states.load(connection))


def intact(work: Ingestion) -> bool:
    reader = connections.open_reader(str(work.ledger.engine.url))
    checked = verification.verify(reader, key=KEY, anchors=work.anchors.read())
    reader.dispose()
    return checked.intact


def stream(count: int, fall: int | None = None) -> list[records.PredictionRecord]:
    """Answers whose activation recall falls from .6 to .4 at `fall`."""
    rng = np.random.default_rng(7)
    means = [0.6 if fall is None or number < fall else 0.4 for number in range(count)]
    return [
        answered(number, float(rng.beta(10 * mean, 10 * (1 - mean))))
        for number, mean in enumerate(means)
    ]
