"""Any version tried on an image, beside what answers in service.

A trial is no answer: nothing is kept of the image, no detector sees it. That it happened is
written down.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audit import records
from models import preprocessing
from models.errors import UnknownModelError
from models.pictures.decoding import Limits, decode_image
from models.pictures.regions import decode_region
from models.registry import Registry
from models.runtime import Served, Session
from services.answering import replies
from services.answering.answerer import GRADCAM, Question, heatmap_of, measured, target_index
from services.answering.champions import Champions
from services.contract.predictions import Trial
from services.errors import NotReadyError
from services.identifiers import identifier
from services.pictures import overlays
from services.records.recording import AnsweredRegion, AnswerEntry, Recorder
from services.versions import tried

# Versions beside the champions that stay loaded: each costs the memory of a classifier.
MOST_LOADED = 2


class Trials:
    """Loads versions as they are asked for; safe in threads."""

    def __init__(
        self,
        registry: Registry,
        champions: Champions,
        recorder: Recorder,
        limits: Limits,
        *,
        open_session: Callable[[Path], Session],
        clock: Callable[[], datetime],
    ) -> None:
        self._registry, self._champions, self._recorder = registry, champions, recorder
        self._limits, self._open, self._clock = limits, open_session, clock
        self._loaded: OrderedDict[tuple[str, int], Served] = OrderedDict()
        self._loading = threading.Lock()

    def run(self, model: str, version: int, question: Question) -> Trial:
        """Return what a version says about one image, and why.

        Raises:
            UnknownModelError: If there is no such version.
            ServiceError: If the image, the region or an option cannot be used.
            ExplainerError: If the version has no such explainer.
            JournalUnavailableError: If the trial cannot be written down now.
        """
        served, options = self._served(model, version), question.options
        spec = served.session.spec
        target = target_index(options.target, spec.classes)
        image = decode_image(question.images[0], self._limits)
        pixels = preprocessing.prepare(image, spec.preprocessing)
        targets = None if target is None else [target]
        prediction = served.session.predict(pixels[None], targets)[0]
        shown = prediction.heatmap
        if options.explainer != GRADCAM:
            chosen = [prediction.target]
            shown = heatmap_of(
                served.session.attribute(pixels[None], options.explainer, chosen)[0]
            )
        region, measures = None, {}
        if question.regions[0] is not None:
            marked = decode_region(question.regions[0], _size(image), self._limits)
            seen = preprocessing.prepare_region(marked, spec.preprocessing)
            shares = preprocessing.region_on_grid(seen, _size(prediction.heatmap))
            region = AnsweredRegion("client", "", shares, float(marked.mean()))
            measures = measured(prediction.heatmap, shares)
        now = self._clock()
        entry = AnswerEntry(
            prediction_id=identifier(now),
            now=now,
            model=served.ref,
            classes=spec.classes,
            prediction=prediction,
            region=region,
            measures=measures,
        )
        self._note(served, options.explainer, now)
        answer = replies.answer_of(entry, pixels, shown, options)
        return Trial(
            model=answer.model,
            classes=answer.classes,
            explanation=answer.explanation,
            audit=answer.audit,
            image=overlays.data_url(pixels),
        )

    def _note(self, served: Served, explainer: str, now: datetime) -> None:
        event = records.ActionEvent(
            event_id=identifier(now),
            event_time=now,
            action="access",
            actor="trial",
            details={
                "model": served.ref.name,
                "version": str(served.ref.version),
                "explainer": explainer,
            },
        )
        self._recorder.note([event])

    def _served(self, model: str, version: int) -> Served:
        try:
            champion = self._champions.current(model)
        except (UnknownModelError, NotReadyError):
            champion = None
        if champion is not None and champion.ref.version == version:
            return champion
        with self._loading:
            kept = self._loaded.pop((model, version), None)
            if kept is None:
                found = self._registry.version(model, version)
                self._registry.verify(found)
                tried.ensure(found)  # it is opened in a process that serves
                kept = Served(self._open(found.folder), found.ref)
            self._loaded[model, version] = kept
            while len(self._loaded) > MOST_LOADED:
                self._loaded.popitem(last=False)
        return kept


def _size(array: NDArray[np.generic]) -> tuple[int, int]:
    return array.shape[0], array.shape[1]
