"""Prediction and explanation → journal entry: the only bridge from `models` to `audit`.

A worker has one `Recorder`. `record` returns when the entries are as durable as the journal was
told; when it raises, nothing may be answered. The pixels that the model saw travel through the
journal as a freshly encoded PNG, so nothing else of the upload (names, EXIF, DICOM headers) is
kept, and end in a folder of their own where they can be erased. Their address is keyed: a plain
digest of the pixels would tell who holds the image that it belongs to.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from audit import records
from audit.canonical import Packed, packed_shares
from audit.errors import JournalUnavailableError
from audit.journal.background import BackgroundWriter
from audit.journal.writer import RESERVE_BYTES, Durability, Writer
from models.types import ModelRef, Prediction
from services.pictures import png


class Journal(Protocol):
    """Where entries go."""

    def append(self, entries: Sequence[bytes]) -> None:
        """Write entries, or raise `JournalUnavailableError`."""

    def close(self) -> None:
        """Stop writing."""


@dataclass(frozen=True, slots=True)
class AnsweredRegion:
    """The region that came with a request, or that the server had for it.

    Attributes:
        source: Who says where evidence is expected.
        origin: More about the source: the segmenter's version, the template's name.
        shares: Share of each cell of the heatmap that the region covers, float32 [rows, columns].
        area: Share of the image that the region covers, in (0, 1].
    """

    source: records.RegionSource
    origin: str
    shares: NDArray[np.float32]
    area: float


@dataclass(frozen=True, slots=True)
class AnswerEntry:
    """One answer as the gateway is about to give it.

    Attributes:
        prediction_id: As made by `services.identifiers`.
        now: When it is answered; timezone-aware.
        model: The version that computed it.
        classes: The labels of the model's classes in the order of the logits.
        prediction: What the model computed.
        image: The pixels that the model saw, uint8 [height, width, 3]; None to keep no image.
        explainer: Name and version of the method behind the heatmap.
        top: How many classes were answered.
        region: Where evidence was expected, if anybody said.
        measures: What was measured against the region.
        subject: Pseudonym of whom the image shows.
        stream: "drill" for the known images of a fire drill.
    """

    prediction_id: str
    now: datetime
    model: ModelRef
    classes: Sequence[str]
    prediction: Prediction
    image: NDArray[np.uint8] | None = None
    explainer: str = "gradcam/1"
    top: int = 5
    region: AnsweredRegion | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    subject: str | None = None
    stream: records.Stream = "live"


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes a worker's answers, and what people later say about them, to its journal.

    Attributes:
        journal: Where to; None records nothing.
        key: Secret of this installation, behind the addresses of images; `secret_key` reads it.
    """

    journal: Journal | None
    key: bytes
    _failure: list[str] = field(default_factory=list, compare=False)

    def record(self, entries: Sequence[AnswerEntry], also: Sequence[records.Event] = ()) -> None:
        """Write the answers down, all or none; safe to call from several threads.

        Args:
            entries: The answers.
            also: What else is to be written in the same step.

        Raises:
            JournalUnavailableError: If they cannot be written now: answer 503, and nothing else.
        """
        if self.journal is not None:
            texts = [text for entry in entries for text in self._texts(entry)]
            self._append([*texts, *(records.to_bytes(event) for event in also)])

    def note(self, events: Sequence[records.Event]) -> None:
        """Write labels, regions, reviews and other events down, all or none.

        Raises:
            JournalUnavailableError: If they cannot be written now.
        """
        if self.journal is not None:
            self._append([records.to_bytes(event) for event in events])

    def unwritable(self) -> str:
        """Return why nothing can be written down now; "" where it can.

        After a failure it tries: nobody may ask any more whose answer would be written.
        """
        if self._failure:
            with suppress(JournalUnavailableError):
                self._append([])
        return self._failure[0] if self._failure else ""

    @property
    def dropped(self) -> int:
        """Entries that an asynchronous journal has lost; 0 for a strict one."""
        return self.journal.dropped if isinstance(self.journal, BackgroundWriter) else 0

    def close(self) -> None:
        """Finish writing and stop."""
        if self.journal is not None:
            self.journal.close()

    def _append(self, texts: Sequence[bytes]) -> None:
        if self.journal is None:
            return
        try:
            self.journal.append(texts)
        except JournalUnavailableError as error:
            self._failure[:] = [str(error)]
            raise
        self._failure.clear()

    def _texts(self, entry: AnswerEntry) -> list[bytes]:
        if entry.image is None:
            return [records.to_bytes(_record(entry, None))]
        address = image_address(self.key, entry.prediction_id, entry.image)
        picture = records.ImageRecord(
            event_id=entry.prediction_id,
            event_time=entry.now,
            address=address,
            png=Packed.of(np.frombuffer(png.uncompressed(entry.image), np.uint8), "|u1"),
            subject=entry.subject,
        )
        return [records.to_bytes(picture), records.to_bytes(_record(entry, address))]


def open_recorder(
    folder: Path,
    *,
    source: str,
    key: bytes,
    mode: Literal["strict", "async", "off"] = "strict",
    durability: Durability = "group",
    reserve_bytes: int = RESERVE_BYTES,
) -> Recorder:
    """Return the recorder of one process; nothing is opened before the first entry.

    Args:
        folder: The journal's folder.
        source: A name that no other run of any worker has had, for example a new identifier.
        key: As read by `secret_key`.
        mode: "strict" answers only what is written; "async" may lose the last moments of a process
            that dies; "off" records nothing.
        durability: When an entry counts as written.
        reserve_bytes: Refuse when the disk has less room than this.
    """
    if mode == "off":
        return Recorder(None, key)
    writer = Writer(folder, source, durability=durability, reserve_bytes=reserve_bytes)
    return Recorder(BackgroundWriter(writer) if mode == "async" else writer, key)


def image_address(key: bytes, prediction_id: str, image: NDArray[np.uint8]) -> str:
    """Return the keyed address of one answer's image: 64 hexadecimal digits.

    The prediction is part of it: two answers never share a file, so erasing one erases it.
    """
    shape = np.array(image.shape, "<u4").tobytes()
    message = prediction_id.encode() + shape + np.ascontiguousarray(image).tobytes()
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def _record(entry: AnswerEntry, image: str | None) -> records.PredictionRecord:
    found = entry.prediction
    order = np.argsort(-found.probabilities, kind="stable")[: max(1, entry.top)]
    return records.PredictionRecord(
        event_id=entry.prediction_id,
        event_time=entry.now,
        model=records.ModelRef(entry.model.name, entry.model.version, entry.model.digest),
        classes=tuple(_rated(entry, int(index)) for index in order),
        probabilities=Packed.of(found.probabilities, "<f4"),
        target=_rated(entry, found.target),
        explainer=entry.explainer,
        heatmap=packed_shares(found.heatmap),
        embedding=Packed.of(np.clip(found.embedding, -65504.0, 65504.0), "<f2"),
        region=_region(entry.region) if entry.region else None,
        measures={name: float(value) for name, value in entry.measures.items()},
        image=image,
        subject=entry.subject,
        stream=entry.stream,
    )


def _region(region: AnsweredRegion) -> records.RegionEvidence:
    return records.RegionEvidence(
        source=region.source,
        origin=region.origin,
        shares=packed_shares(region.shares),
        area=float(region.area),
    )


def _rated(entry: AnswerEntry, index: int) -> records.RatedClass:
    probability = round(float(entry.prediction.probabilities[index]), 6)
    return records.RatedClass(index, str(entry.classes[index]), probability)
