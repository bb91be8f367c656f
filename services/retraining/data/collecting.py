"""What a retraining learns from: the champion's own data, and what people said about its answers.

A recorded answer becomes a training row when its true class is known: from a label, or from a
review that found the class right. Its region, sent with the request or drawn later, comes with it.
Erased answers are gone from the store and hence from here; a row whose pixels stand in the locked
set is left out.
"""

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from PIL import Image

from audit import agreement, canonical, records
from audit.store import queries, tables
from audit.store.queries import Reading
from models.training.image_sets import ImageSet, join
from models.types import ClassifierSpec
from services.records.images import ImageFolder

_KINDS = ("label", "region", "review")
_NO_PERSON = {"client", "segmenter", "template"}  # who came with a region of their own accord
_PROGRAMS = {"segmenter", "template"}
_CLASS_IS_RIGHT = {"right-reason", "wrong-reason"}


@dataclass(frozen=True, slots=True)
class Told:
    """Everything that is known about one recorded answer.

    Attributes:
        record: The answer.
        label: Its true class.
        labelled_by: Who said so.
        region: Where evidence is expected; None where nobody said.
        region_by: Who said so; "" without a region.
        verdict: The one that stands; "" without one, and where readers differ.
        exemplar: "good" or "bad" where a reviewer said that this explanation is an example.
        judged_by: Whose verdict that is.
    """

    record: records.PredictionRecord
    label: str
    labelled_by: str
    region: records.RegionEvidence | None
    region_by: str
    verdict: str
    exemplar: str
    judged_by: str


@dataclass(frozen=True, slots=True, eq=False)
class Collected:
    """Rows from the audit store.

    Attributes:
        rows: As training rows; None where there are none.
        provenance: One mapping per row: the answer, who gave label and region, the verdict.
        left_out: Why answers were left out, with how many.
        quarantined: Each of these answers with its reason.
    """

    rows: ImageSet | None
    provenance: Sequence[Mapping[str, Any]]
    left_out: Mapping[str, int]
    quarantined: Sequence[Mapping[str, str]] = ()

    @property
    def sources(self) -> dict[str, int]:
        """How many rows rest on which source."""
        counted = Counter(
            source
            for each in self.provenance
            for source, there in (
                ("labels", not each["verdict"]),
                ("reviews", bool(each["verdict"])),
                ("regions", bool(each["region_by"])),
            )
            if there
        )
        return dict(counted)

    @property
    def actors(self) -> dict[str, int]:
        """How many rows each person had a hand in."""
        return dict(
            Counter(
                actor
                for each in self.provenance
                for actor in {each["labelled_by"], each["region_by"]}
                if actor and actor not in _NO_PERSON
            )
        )

    def reviewed(self, verdict: str, *, champion: str = "") -> list[str]:
        """Return the ids of the rows that a reviewer judged so, the best example last.

        An example is best where a reviewer called it one, and where the champion itself gave the
        explanation: that is the one that a retraining takes.

        Args:
            verdict: The verdict that stands.
            champion: "name@version" of the champion.
        """
        found = [each for each in self.provenance if each["verdict"] == verdict]
        found.sort(key=lambda each: (bool(each["exemplar"]), each["model"] == champion))
        return [str(each["row"]) for each in found]


def collect(
    reading: Reading | None,
    model: str,
    spec: ClassifierSpec,
    images: ImageFolder,
    locked: ImageSet,
) -> Collected:
    """Return the recorded answers of a model that can be learnt from.

    Args:
        reading: The audit store; None where there is none yet.
        model: The model.
        spec: Of the champion: size and classes.
        images: Where the recorded pixels lie.
        locked: Rows that nobody may learn from.
    """
    if reading is None:
        return Collected(None, (), {})
    forbidden = {_mark(image) for image in locked.images}
    size = (spec.preprocessing.height, spec.preprocessing.width)
    out: list[tuple[Told, str]] = []
    kept: list[tuple[Told, NDArray[np.uint8]]] = []
    for told in _told(reading, model):
        png = None if told.record.image is None else images.read(told.record.image)
        if told.label not in spec.classes:
            out.append((told, "class unknown to the model"))
        elif png is None:
            out.append((told, "no image kept"))
        elif (pixels := _pixels(png)).shape[:2] != size:
            out.append((told, "recorded at another size"))
        elif _mark(pixels) in forbidden:
            out.append((told, "stands in the locked set"))
        else:
            kept.append((told, pixels))
    return Collected(
        _rows(kept, spec, size) if kept else None,
        [_provenance(told) for told, _ in kept],
        dict(Counter(why for _, why in out)),
        [{"row": told.record.prediction_id, "reason": why} for told, why in out],
    )


def with_base(base: ImageSet, collected: Collected) -> ImageSet:
    """Return the training rows: the base, then what was collected."""
    return base if collected.rows is None else join([base, collected.rows])


def _told(reading: Reading, model: str) -> Iterator[Told]:
    """Yield what is known about every answer whose class somebody settled, by its id."""
    events, payloads = tables.events, tables.payloads
    wanted = (
        sa.select(payloads.c.seq)
        .select_from(payloads.join(events, events.c.seq == payloads.c.seq))
        .where(events.c.kind.in_(_KINDS), ~_only_guessed(payloads))
        .order_by(payloads.c.seq)
    )
    later: dict[str, list[records.Event]] = {}
    with reading.connected() as connection:
        for seq in connection.execute(wanted).scalars().all():
            event = queries.payload(connection, seq)
            if isinstance(event, records.LabelEvent | records.RegionEvent | records.ReviewEvent):
                later.setdefault(event.prediction_id, []).append(event)
        for prediction_id, said in sorted(later.items()):
            record = queries.answer(connection, prediction_id)
            live = record is not None and record.model.name == model and record.stream == "live"
            told = _settled(record, said) if record is not None and live else None
            if told is not None:
                yield told


def _only_guessed(payloads: sa.Table) -> sa.ColumnElement[bool]:
    """Whether an event is a program's region of an answer that nobody has said anything about.

    A segmenter draws regions of a good part of the traffic: they are not read one by one.
    """
    values, answers = tables.measures, tables.predictions
    open_class = answers.c.label.is_(None) & answers.c.verdict.is_(None)
    return (
        sa.select(values.c.seq)
        .join(answers, answers.c.prediction_id == values.c.prediction_id)
        .where(values.c.seq == payloads.c.seq, values.c.source.in_(_PROGRAMS), open_class)
        .exists()
    )


def _settled(record: records.PredictionRecord, said: Sequence[records.Event]) -> Told | None:
    """Put together what was said, later over earlier; None while the class is open."""
    label, by, verdict, exemplar, judge = "", "", "", "", ""
    region = record.region
    region_by: str = "" if region is None else region.source
    standing = _standing(said)
    for event in said:
        if isinstance(event, records.LabelEvent):
            label, by = event.label, event.actor
        elif isinstance(event, records.RegionEvent):
            # A person knows better than a program, whoever spoke last.
            guessed = event.region.source in _PROGRAMS
            if not guessed or region is None or region.source in _PROGRAMS:
                region, region_by = event.region, event.actor
        elif isinstance(event, records.ReviewEvent) and event in standing:
            verdict, judge = event.verdict, event.actor
            exemplar = event.exemplar
            if event.label is not None:
                label, by = event.label, event.actor
            elif event.verdict in _CLASS_IS_RIGHT:
                label, by = record.decided.label, event.actor
            else:
                label = ""
    return Told(record, label, by, region, region_by, verdict, exemplar, judge) if label else None


def _standing(said: Sequence[records.Event]) -> Sequence[records.ReviewEvent]:
    """Return the reviews that count: those of whoever decided between readers, where somebody did.

    What readers differ about is as if nobody had judged it.
    """
    reviews = [each for each in said if isinstance(each, records.ReviewEvent)]
    decided = [each for each in reviews if each.reading == "adjudication"]
    readings = [
        agreement.Reading(each.actor, each.verdict, each.reading == "adjudication")
        for each in reviews
    ]
    return decided or (reviews if agreement.settled(readings) is not None else [])


def _rows(
    kept: Sequence[tuple[Told, NDArray[np.uint8]]], spec: ClassifierSpec, size: tuple[int, int]
) -> ImageSet:
    relevant = np.stack([_mask(told.region, size) for told, _ in kept])
    return ImageSet(
        images=np.stack([pixels for _, pixels in kept]),
        labels=np.array([spec.classes.index(told.label) for told, _ in kept], np.int64),
        classes=spec.classes,
        ids=tuple(told.record.prediction_id for told, _ in kept),
        relevant=relevant,
        irrelevant=~relevant,
        annotated=np.asarray(relevant.any(axis=(1, 2)), np.bool_),
        subjects=tuple(told.record.subject or "" for told, _ in kept),
    )


def _mask(region: records.RegionEvidence | None, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels of every grid cell that the region touches."""
    if region is None:
        return np.zeros(size, bool)
    cells = (canonical.shares(region.shares) > 0).astype(np.uint8) * 255
    grown = Image.fromarray(cells).resize((size[1], size[0]), Image.Resampling.NEAREST)
    mask: NDArray[np.bool_] = np.asarray(grown) > 0
    return mask


def _pixels(png: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def _mark(image: NDArray[Any]) -> bytes:
    return blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).digest()


def _provenance(told: Told) -> dict[str, Any]:
    return {
        "row": told.record.prediction_id,
        "model": f"{told.record.model.name}@{told.record.model.version}",
        "label": told.label,
        "labelled_by": told.labelled_by,
        "region_by": told.region_by,
        "verdict": told.verdict,
        "exemplar": told.exemplar,
        "judged_by": told.judged_by,
    }
