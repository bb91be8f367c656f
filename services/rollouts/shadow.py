"""Lets a candidate answer what the champion has answered, behind everybody's back.

One thread of the lowest priority per worker, and a short queue before it: a request offers its
images and goes on. What finds the queue full is dropped and counted. Whatever the candidate does,
no request is slower for it by more than the offer, and none fails.
"""

import logging
import os
import queue
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter
from typing import Final

import numpy as np

from audit.comparisons import ComparisonRecord
from audit.errors import AuditError
from models.types import Prediction
from services import telemetry
from services.records.recording import AnswerEntry, Recorder
from services.rollouts import comparing
from services.rollouts.candidates import Candidate

LOG = logging.getLogger(__name__)
# Requests that wait for the candidate; each holds the pixels of its images.
WAITING: Final = 16
_LOWEST_PRIORITY: Final = 19
_CLOSING_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Job:
    candidate: Candidate
    entries: Sequence[AnswerEntry]
    milliseconds: float


class Shadow:
    """The candidates' silent answers in one worker; safe to offer to from several threads."""

    def __init__(
        self,
        recorder: Recorder,
        clock: Callable[[], datetime],
        *,
        deadline_seconds: float,
        waiting: int = WAITING,
    ) -> None:
        """Prepare; the thread begins with the first offer.

        Args:
            recorder: Where comparisons are written down.
            clock: The present.
            deadline_seconds: Longer for one request is a failure.
            waiting: Requests in the queue.
        """
        self._recorder, self._clock = recorder, clock
        self._deadline = deadline_seconds
        self._queue: queue.Queue[_Job | None] = queue.Queue(waiting)
        self._dropped: Counter[str] = Counter()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def offer(
        self, candidate: Candidate | None, entries: Sequence[AnswerEntry], milliseconds: float
    ) -> None:
        """Let the candidate answer too, if there is one in the shadow; never waits, never raises.

        Args:
            candidate: The model's, whichever phase it is in.
            entries: What the champion has just answered, with images.
            milliseconds: What that took it per image.
        """
        if candidate is None or candidate.rollout.phase != "shadow" or not entries:
            return
        if entries[0].model.version != candidate.rollout.champion:
            return  # the pointer has moved between the request and now
        self._start()
        try:
            self._queue.put_nowait(_Job(candidate, entries, milliseconds))
        except queue.Full:
            self._drop(candidate, len(entries))

    def close(self) -> None:
        """Stop; what waits is dropped."""
        thread = self._thread
        if thread is None:
            return
        while True:
            try:
                self._queue.put_nowait(None)
                break
            except queue.Full:
                self._queue.get_nowait()
        thread.join(_CLOSING_SECONDS)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        with suppress(OSError):  # only on Linux a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        while (job := self._queue.get()) is not None:
            name = job.candidate.served.ref.name
            told = self._compare(job)
            told[0] = replace(told[0], dropped=self._dropped.pop(name, 0))
            try:
                self._recorder.note(told)
            except AuditError as error:
                LOG.warning("comparisons of %s are lost: %s", name, error)
                self._drop(job.candidate, len(told))

    def _compare(self, job: _Job) -> list[ComparisonRecord]:
        rollout, name = job.candidate.rollout, job.candidate.served.ref.name
        try:
            predictions, milliseconds = _predict(job.candidate, job.entries, self._deadline)
        except Exception as error:  # noqa: BLE001 - a candidate may fail in any way it likes
            telemetry.candidate_answered(name, rollout.phase, "failed", len(job.entries))
            return [
                comparing.failed(
                    rollout, name, error, prediction_id=each.prediction_id, now=self._clock()
                )
                for each in job.entries
            ]
        telemetry.candidate_took(name, rollout.phase, milliseconds / 1000)
        told = [
            comparing.compared(
                rollout,
                entry,
                own,
                milliseconds=milliseconds,
                champion_milliseconds=job.milliseconds,
                now=self._clock(),
            )
            for entry, own in zip(job.entries, predictions, strict=True)
        ]
        for each in told:
            outcome = "agreed" if each.agrees else "differed"
            telemetry.candidate_answered(name, rollout.phase, outcome)
        return told

    def _drop(self, candidate: Candidate, images: int) -> None:
        name = candidate.served.ref.name
        self._dropped[name] += images
        telemetry.SHADOW_DROPPED.labels(name).inc(images)


def _predict(
    candidate: Candidate, entries: Sequence[AnswerEntry], deadline: float
) -> tuple[list[Prediction], float]:
    """Return the candidate's answers to the same pixels, and its milliseconds per image.

    Each explains the class that it would explain if it answered.

    Raises:
        UnusableAnswerError: If they are no answers, or took longer than `deadline` seconds.
    """
    begin = perf_counter()
    pixels = np.stack([each.image for each in entries if each.image is not None])
    chosen = [each.prediction.target for each in entries]
    own = chosen == [each.prediction.decided for each in entries]
    predictions = candidate.served.session.predict(pixels, None if own else chosen)
    if len(predictions) != len(entries):
        raise comparing.UnusableAnswerError("an image was not kept")
    comparing.check_usable(predictions)
    seconds = perf_counter() - begin
    if seconds > deadline:
        raise comparing.UnusableAnswerError(f"it took {seconds:.1f} s")
    return predictions, 1000 * seconds / len(predictions)
