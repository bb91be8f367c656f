"""The fire drill: known wrong reasons go the whole way, and an alarm must come out at the end.

The champion answers for real; then the region is put where its heatmap is coldest, so the
activation recall is known to be low. The records are of the stream "drill": they meet no live
detector, no mean and no request. What is tried is everything between an answer and its alarm.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from audit import canonical, localisation, records, report
from audit.watch.watching import DRILL
from models.registry import Version
from models.runtime import Session
from services.identifiers import identifier
from services.records.recording import AnsweredRegion, AnswerEntry, Recorder
from services.records.stores import StoreReader

# A fall from the drill's reference to this or below is found within as many answers.
ANSWERS = 60
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a drill.

    Attributes:
        alarmed: Whether the alarm came.
        seconds: From the first record to the alarm, or until patience was over.
        activation_recall: Mean over the drilled answers.
    """

    alarmed: bool
    seconds: float
    activation_recall: float


def drill(
    version: Version,
    session: Session,
    recorder: Recorder,
    store: StoreReader,
    *,
    clock: Callable[[], datetime],
    patience: float,
    seed: int = 0,
    actor: str = "rightly drill",
    stop: threading.Event | None = None,
) -> Outcome:
    """Record known wrong reasons and wait for the alarm.

    Args:
        version: The champion.
        session: Its graphs.
        recorder: Where to; a source of its own.
        store: Where the alarm is looked for.
        clock: The present.
        patience: How many seconds to wait.
        seed: Of the images.
        actor: Who drills; it is recorded.
        stop: Ends the waiting; nothing is then said about the outcome.
    """
    name, start = version.ref.name, clock()
    stop = stop or threading.Event()
    recorder.note([_action(name, "begin", start, actor)])
    entries = _entries(version, session, clock, seed)
    recorder.record(entries)
    recall = float(np.mean([each.measures["activation_recall"] for each in entries]))
    began = time.monotonic()
    alarmed = False
    while not alarmed and time.monotonic() - began < patience and not stop.wait(_LOOK_SECONDS):
        alarmed = _alarmed(store, name + DRILL, start)
    if alarmed or not stop.is_set():
        recorder.note([_action(name, "alarm" if alarmed else "silence", clock(), actor)])
    return Outcome(alarmed, time.monotonic() - began, recall)


def _entries(
    version: Version, session: Session, clock: Callable[[], datetime], seed: int
) -> list[AnswerEntry]:
    shape = session.spec.preprocessing
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (ANSWERS, shape.height, shape.width, 3), np.uint8)
    answers = [session.predict(image[None])[0] for image in images]
    entries = []
    for answer in answers:
        now, cold = clock(), _coldest(answer.heatmap)
        found = localisation.measure(answer.heatmap, cold)
        entries.append(
            AnswerEntry(
                prediction_id=identifier(now),
                now=now,
                model=version.ref,
                classes=session.spec.classes,
                prediction=answer,
                region=AnsweredRegion("template", "drill", cold, float(cold.mean())),
                measures=localisation.measures_of(found),
                stream="drill",
            )
        )
    return entries


def _coldest(heatmap: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the colder half of the cells as a region."""
    order = np.argsort(heatmap, axis=None, kind="stable")
    region = np.zeros(heatmap.size, np.float32)
    region[order[: max(1, heatmap.size // 2)]] = 1.0
    return region.reshape(heatmap.shape)


def _alarmed(store: StoreReader, model: str, since: datetime) -> bool:
    reading = store()
    if reading is None:
        return False
    with reading.connected() as connection:
        page = report.alarms(connection, model=model, states=("alarm",))
    return any(row["raised_at"] >= canonical.moment(since) for row in page.rows)


def _action(model: str, outcome: str, now: datetime, actor: str) -> records.ActionEvent:
    details = {"model": model, "outcome": outcome}
    return records.ActionEvent(identifier(now), now, "drill", actor, details)
