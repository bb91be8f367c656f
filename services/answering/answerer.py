"""One request's images → answers: decode, prepare, predict, explain, measure, write down.

Runs in a worker's thread from the first byte of the first image to the last answer, so that all
of it is one version's work. Nothing is returned that the recorder has not taken.

What is written down and measured is always Grad-CAM, whichever explainer the answer shows: a
detector that compares one week with another must not mix methods.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from statistics import median
from time import perf_counter
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from audit import localisation
from audit.comparisons import ComparisonRecord
from audit.errors import EmptyRegionError
from models import preprocessing, stopping
from models.errors import ImageError
from models.pictures.decoding import Limits, Pixels, decode_image, size_of
from models.pictures.regions import Region, decode_region
from models.runtime import Served
from models.types import Attribution, Prediction
from services import logs, telemetry, tracing
from services.answering.budget import Budget
from services.answering.champions import Champions
from services.answering.replies import answer_of
from services.answering.templates import Templates
from services.contract.predictions import Answer, Options
from services.errors import RequestError, ServiceError
from services.identifiers import identifier
from services.records.recording import AnsweredRegion, AnswerEntry, Recorder
from services.rollouts import comparing
from services.rollouts.candidates import Candidate
from services.rollouts.shadow import Shadow

Made = TypeVar("Made")

GRADCAM = "gradcam"
_TIMES = 64  # of the champion's latest times, to compare a canary's with
_LISTED = 10  # classes in the message about a wrong target


@dataclass(frozen=True, slots=True)
class Question:
    """What a request asks, whichever way it came in.

    Attributes:
        images: Encoded files.
        regions: Encoded PNGs, one per image; None where nobody said what is relevant.
        options: What to answer about each image.
    """

    images: Sequence[bytes]
    regions: Sequence[bytes | None]
    options: Options


@dataclass(frozen=True, slots=True)
class Picture:
    """One image as the classifier sees it, with the region on the same pixels.

    Attributes:
        pixels: Uint8 RGB [height, width, 3], prepared.
        region: Bool [height, width], prepared; None where there is none.
        area: Share of the image as sent that the region covers; 0 where there is none.
    """

    pixels: Pixels
    region: Region | None
    area: float


@dataclass(frozen=True, slots=True)
class Computed:
    """Answers that nobody may see yet.

    Attributes:
        answers: One per image.
        entries: What is to be written down about each.
        options: What was asked.
        milliseconds: What the classifier took per image.
        role: Of the version that answered.
        comparisons: What a canary made of the images, to be written down as well.
    """

    answers: list[Answer]
    entries: list[AnswerEntry]
    options: Options
    milliseconds: float
    role: Literal["champion", "canary"] = "champion"
    comparisons: tuple[ComparisonRecord, ...] = ()


class Answerer:
    """Answers requests with whatever version is the champion when they begin, or its canary."""

    def __init__(
        self,
        champions: Champions,
        recorder: Recorder,
        limits: Limits,
        clock: Callable[[], datetime],
        templates: Templates | None = None,
        *,
        shadow: Shadow | None = None,
        budget: Budget | None = None,
    ) -> None:
        """Connect.

        Args:
            champions: What answers now.
            recorder: Where answers are written down.
            limits: Of images.
            clock: The present.
            templates: Regions where none came with a request; None for none.
            shadow: Where candidates answer silently; None for nowhere.
            budget: Of pixels; None for the usual one.
        """
        self._budget = budget or Budget()
        self._templates = templates
        self._champions, self._recorder = champions, recorder
        self._limits, self._clock = limits, clock
        self._shadow = shadow
        self._labels = telemetry.ClassLabels()
        self._times: dict[str, deque[float]] = defaultdict(partial(deque, maxlen=_TIMES))

    def answer(self, model: str, question: Question) -> list[Answer]:
        """Return one answer per image, in their order, all of one version; errors as below."""
        return self.give(self.compute(model, question))

    def compute(self, model: str, question: Question) -> Computed:
        """Work out one answer per image, in their order, all of one version.

        Raises:
            UnknownModelError: If there is no such model.
            NotReadyError: If no version of it is in service.
            ServiceError: If an image, a region or an option cannot be used; the message says
                which image.
            ExplainerError: If the version has no such explainer.
        """
        first = identifier(self._clock())
        candidate = self._champions.candidate(model)
        if candidate is not None and candidate.answers(question.options.subject or first):
            return self._tried(candidate, question, first)
        computed = self._computed(self._champions.current(model), question, first)
        self._times[model].append(computed.milliseconds)
        return computed

    def _tried(self, candidate: Candidate, question: Question, first: str) -> Computed:
        """Answer by the canary; where it fails, by the champion, so that nobody notices."""
        rollout, name = candidate.rollout, candidate.served.ref.name
        try:
            found = self._computed(candidate.served, question, first)
            comparing.check_usable([each.prediction for each in found.entries])
        except Exception as error:  # noqa: BLE001 - a candidate may fail in any way it likes
            stopping.check()  # but to be stopped is no failure of its
            # Where the request itself is at fault, the champion says so too.
            instead = self._computed(self._champions.current(name), question, first)
            telemetry.candidate_answered(name, "canary", "failed", len(instead.entries))
            told = [
                comparing.failed(
                    rollout, name, error, prediction_id=each.prediction_id, now=self._clock()
                )
                for each in instead.entries
            ]
            return replace(instead, comparisons=tuple(told))
        usual = self._times[name].copy()
        told = [
            comparing.answered(
                rollout,
                each,
                milliseconds=found.milliseconds,
                champion_milliseconds=median(usual) if usual else None,
                now=self._clock(),
            )
            for each in found.entries
        ]
        telemetry.candidate_answered(name, "canary", "answered", len(told))
        telemetry.candidate_took(name, "canary", found.milliseconds / 1000)
        return replace(found, role="canary", comparisons=tuple(told))

    def _computed(self, served: Served, question: Question, first: str) -> Computed:
        """Work the answers out by one version; the first one's identifier is given."""
        target = target_index(question.options.target, served.session.spec.classes)
        with telemetry.stage("decode"):
            pictures = self._pictures(question, served)
        pixels = np.stack([each.pixels for each in pictures])
        targets = None if target is None else [target] * len(pictures)
        begin = perf_counter()
        with telemetry.stage("predict"):
            predictions = served.session.predict(pixels, targets)
        milliseconds = 1000 * (perf_counter() - begin) / len(pictures)
        shown = [each.heatmap for each in predictions]
        if question.options.explainer != GRADCAM:
            chosen = [each.target for each in predictions]
            with telemetry.stage("explain"):
                found = served.session.attribute(pixels, question.options.explainer, chosen)
            shown = [heatmap_of(each) for each in found]
        answers: list[Answer] = []
        entries: list[AnswerEntry] = []
        for picture, prediction, heatmap in zip(pictures, predictions, shown, strict=True):
            entry = self._entry(served, picture, prediction, question.options)
            entries.append(entry if entries else replace(entry, prediction_id=first))
            answers.append(answer_of(entries[-1], picture.pixels, heatmap, question.options))
        return Computed(answers, entries, question.options, milliseconds)

    def give(self, computed: Computed) -> list[Answer]:
        """Write the answers down, and only then return them.

        Raises:
            JournalUnavailableError: If they cannot be written down now.
        """
        with telemetry.stage("record"):
            self._recorder.record(computed.entries, computed.comparisons)
        self._count(computed)
        self._trace(computed)
        if self._shadow is not None and computed.role == "champion":
            name = computed.entries[0].model.name
            self._shadow.offer(
                self._champions.candidate(name), computed.entries, computed.milliseconds
            )
        return computed.answers

    def _trace(self, computed: Computed) -> None:
        """Say on the request's span, and in the log, which answers it got."""
        first = computed.entries[0]
        tracing.tell(
            {
                "rightly.prediction_id": [each.prediction_id for each in computed.entries],
                "rightly.model": first.model.name,
                "rightly.version": first.model.version,
            }
        )
        for each in computed.entries:
            logs.answered(
                each.prediction_id,
                model=each.model.name,
                version=each.model.version,
                explainer=computed.options.explainer,
                milliseconds=computed.milliseconds,
            )

    def _pictures(self, question: Question, served: Served) -> list[Picture]:
        pictures = []
        asked = sum(self._each_of(question, lambda content, _: _pixels(content, self._limits)))
        with self._budget.taking(asked):
            for picture in self._each_of(question, lambda a, b: self._picture(a, b, served)):
                pictures.append(picture)
                stopping.check()
        return pictures

    def _each_of(
        self, question: Question, read: Callable[[bytes, bytes | None], Made]
    ) -> Iterator[Made]:
        """Yield what is read of each image; what is wrong with one of several says which."""
        pairs = zip(question.images, question.regions, strict=True)
        for number, (content, region) in enumerate(pairs):
            try:
                yield read(content, region)
            except (ServiceError, ImageError) as error:
                if len(question.images) == 1:
                    raise
                raise type(error)(f"image {number}: {error}") from error

    def _picture(self, content: bytes, region: bytes | None, served: Served) -> Picture:
        shape = served.session.spec.preprocessing
        image = decode_image(content, self._limits)
        pixels = preprocessing.prepare(image, shape)
        if region is None:
            return Picture(pixels, None, 0.0)
        height, width = image.shape[:2]
        marked = decode_region(region, (height, width), self._limits)
        return Picture(pixels, preprocessing.prepare_region(marked, shape), float(marked.mean()))

    def _entry(
        self, served: Served, picture: Picture, prediction: Prediction, options: Options
    ) -> AnswerEntry:
        now = self._clock()
        name = identifier(now)
        region = self._region(served, picture, prediction, name)
        return AnswerEntry(
            prediction_id=name,
            now=now,
            model=served.ref,
            classes=served.session.spec.classes,
            prediction=prediction,
            image=picture.pixels,
            explainer=f"{served.session.heatmap}/1",
            top=options.top_k,
            region=region,
            measures={} if region is None else measured(prediction.heatmap, region.shares),
            subject=options.subject,
        )

    def _region(
        self, served: Served, picture: Picture, prediction: Prediction, name: str
    ) -> AnsweredRegion | None:
        """Return what came with the request, else the model's template."""
        rows, columns = prediction.heatmap.shape
        if picture.region is not None:
            shares = preprocessing.region_on_grid(picture.region, (rows, columns))
            return AnsweredRegion("client", "", shares, picture.area)
        if self._templates is None:
            return None
        shape = served.session.spec.preprocessing
        return self._templates.region(served.ref.name, name, shape, (rows, columns))

    def _count(self, computed: Computed) -> None:
        for entry in computed.entries:
            name = entry.model.name
            telemetry.PREDICTIONS.labels(name, computed.options.explainer).inc()
            telemetry.RECORDS.labels(name, str(entry.region is not None).lower()).inc()
            if entry.region is not None:
                label = self._labels.of(name, entry.classes[entry.prediction.decided])
                telemetry.audited(
                    name, label, entry.region.source, entry.measures, role=computed.role
                )


def _pixels(content: bytes, limits: Limits) -> int:
    height, width = size_of(content, limits)
    return height * width


def target_index(target: str | None, classes: Sequence[str]) -> int | None:
    """Return the index of the class that `target` names; None where it names none.

    Args:
        target: A label; or where no class has that label, an index.
        classes: Labels in the order of the indices.

    Raises:
        RequestError: If it is neither.
    """
    if target is None:
        return None
    if target in classes:
        return classes.index(target)
    if target.isascii() and target.isdigit() and int(target) < len(classes):
        return int(target)
    listed = ", ".join(classes[:_LISTED]) + (", …" if len(classes) > _LISTED else "")
    raise RequestError(f"target {target!r} is no class; there are {len(classes)}: {listed}")


def heatmap_of(attribution: Attribution) -> NDArray[np.float32]:
    """Return what speaks for the target, divided by its maximum; zeros stay zeros."""
    positive = np.maximum(attribution.values, 0)
    highest = positive.max(initial=0)
    return positive / highest if highest > 0 else positive


def measured(heatmap: NDArray[np.float32], shares: NDArray[np.float32]) -> dict[str, float]:
    """Return the localisation measures of a Grad-CAM, by name.

    Args:
        heatmap: In [0, 1], [rows, columns].
        shares: Share of each cell that the region covers.

    Raises:
        RequestError: If the region lies outside of what the classifier sees.
    """
    try:
        found = localisation.measure(heatmap, shares)
    except EmptyRegionError as error:
        raise RequestError("the region lies outside of what the classifier sees") from error
    return {
        "activation_recall": found.activation_recall,
        "recall_chance": found.recall_chance,
        "thresholded_recall": found.thresholded_recall,
        "activation_precision": found.activation_precision,
        "relevance_mass": found.relevance_mass,
        "chance": found.area,
        "iou": found.iou,
        "pointing": float(found.pointing),
        "entropy": found.entropy,
        "silent": float(found.silent),
    }
