"""Regions from a segmenter, off the request path: the auditor runs it on a sample of the answers.

An answer takes part when nobody sent a region with it and its pixels were recorded. The sample is
drawn by the id, so that it is the one that probing draws from as well.
"""

import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from audit import canonical, records
from models import preprocessing, segmenters
from models.attachments import Attachments
from models.errors import ModelsError
from models.segmenters import Segmenter
from services.identifiers import sampled

LOG = logging.getLogger("rightly.auditor")
# Images in one run, which bounds its memory.
AT_ONCE = 16
Seen: TypeAlias = tuple[records.PredictionRecord, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class InUse:
    """A segmenter that is loaded.

    Attributes:
        origin: Its number and digest.
        segmenter: It.
    """

    origin: str
    segmenter: Segmenter


@dataclass(slots=True)
class ServedSegmenter:
    """Runs what is attached to each model.

    Attributes:
        root: The registry's folder.
        share: Share of the answers, in [0, 1].
        identify: Makes ids for a moment.
        counts: Model and outcome ("located", "nothing", "failed") → answers.
    """

    root: Path
    share: float
    identify: Callable[[datetime], str]
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    _known: dict[str, tuple[object, InUse | None]] = field(default_factory=dict)

    def wants(self, record: records.PredictionRecord) -> bool:
        """Whether the segmenter of its model should see this answer."""
        alone = record.region is None and record.stream == "live" and record.image is not None
        return (
            alone
            and sampled(record.event_id, self.share)
            and self.current(record.model.name) is not None
        )

    def locate(
        self, answers: Sequence[tuple[records.PredictionRecord, bytes]], *, now: datetime
    ) -> Sequence[records.RegionEvent]:
        """Return one region per answer in which the segmenter found something.

        Args:
            answers: Records that it `wants` and the PNG of their image.
            now: When.
        """
        by_shape: dict[tuple[object, ...], list[Seen]] = {}
        for record, png in answers:
            try:
                image = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
            except (OSError, ValueError, SyntaxError) as error:
                LOG.warning("the image of %s cannot be read: %s", record.event_id, error)
                self._count(record.model.name, "failed", 1)
                continue
            by_shape.setdefault((record.model.name, *image.shape), []).append((record, image))
        return [
            event
            for alike in by_shape.values()
            for start in range(0, len(alike), AT_ONCE)
            for event in self._located(alike[start : start + AT_ONCE], now)
        ]

    def current(self, model: str) -> InUse | None:
        """Return the segmenter of a model; None where there is none that can be used."""
        attachments = Attachments(self.root, "segmenter")
        stamp = attachments.stamp(model)
        if stamp is None:
            return None
        known = self._known.get(model)
        if known is None or known[0] != stamp:
            known = self._known[model] = (stamp, _opened(attachments, model))
        return known[1]

    def _located(self, alike: Sequence[Seen], now: datetime) -> Sequence[records.RegionEvent]:
        model = alike[0][0].model.name
        in_use = self.current(model)
        if in_use is None:
            return []
        try:
            regions = in_use.segmenter.regions(np.stack([image for _, image in alike]))
        except ModelsError as error:
            LOG.warning("the segmenter of %s fails: %s", model, error)
            self._count(model, "failed", len(alike))
            return []
        usable = [
            (record, region)
            for (record, _), region in zip(alike, regions, strict=True)
            if region.any() and not region.all()
        ]
        self._count(model, "located", len(usable))
        self._count(model, "nothing", len(alike) - len(usable))
        return [self._event(record, region, in_use, now) for record, region in usable]

    def _event(
        self,
        record: records.PredictionRecord,
        region: NDArray[np.bool_],
        in_use: InUse,
        now: datetime,
    ) -> records.RegionEvent:
        rows, columns = record.heatmap.shape
        shares = preprocessing.region_on_grid(region, (rows, columns))
        evidence = records.RegionEvidence(
            source="segmenter",
            origin=in_use.origin,
            shares=canonical.packed_shares(shares),
            area=float(region.mean()),
        )
        return records.RegionEvent(
            event_id=self.identify(now),
            event_time=now,
            prediction_id=record.event_id,
            region=evidence,
            actor="segmenter",
            stratum="random",
        )

    def _count(self, model: str, outcome: str, answers: int) -> None:
        self.counts[model, outcome] = self.counts.get((model, outcome), 0) + answers


def _opened(attachments: Attachments, model: str) -> InUse | None:
    try:
        found = attachments.current(model)
        if found is None:
            return None
        return InUse(f"{found.number} {found.digest}", segmenters.load(found))
    except ModelsError as error:
        LOG.warning("the segmenter of %s cannot be used: %s", model, error)
        return None
