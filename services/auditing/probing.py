"""Shortcut reliance on live traffic: what is irrelevant is changed and the model asked again.

A share of the answers whose region and image were recorded is probed, chosen by a hash of the id,
so that nobody can choose. The region is known on the heatmap's grid: a cell belongs to it from
half covered on. Donors for the swap are other recent answers of the same version.
"""

import io
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from audit import canonical, records
from audit.errors import ProbeError, RegionError
from audit.reliance import probing
from audit.reliance.carrying import ALL
from models.errors import ModelsError
from models.registry import Registry
from models.runtime import Session
from services.identifiers import sampled

LOG = logging.getLogger("rightly.auditor")
# How many recent answers of a version can lend their surroundings.
POOL = 32
# Versions that stay loaded: those probed last. What could not be opened is tried again.
MOST_LOADED = 4
RETRY_AFTER = timedelta(minutes=1)
_HALF = 0.5
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Pictured:
    """An answer with its pixels.

    Attributes:
        record: The answer.
        image: What the model saw, uint8 [height, width, 3].
        region: Where evidence was expected, bool [height, width].
    """

    record: records.PredictionRecord
    image: NDArray[np.uint8]
    region: NDArray[np.bool_]


@dataclass(slots=True)
class ServedProber:
    """Probes a share of the answers with the version that gave them.

    Attributes:
        registry: Where the versions are.
        share: Share of the answers, in [0, 1].
        identify: Makes ids for a moment.
        most: Most answers that looking for the part that carries an answer may cost.
    """

    registry: Registry
    share: float
    identify: Callable[[datetime], str]
    most: int = ALL
    _sessions: OrderedDict[Key, Session] = field(default_factory=OrderedDict)
    _failed: dict[Key, datetime] = field(default_factory=dict)
    _pools: dict[Key, deque[Pictured]] = field(default_factory=dict)

    def probe(
        self, answers: Sequence[tuple[records.PredictionRecord, bytes]], *, now: datetime
    ) -> Sequence[records.ProbeEvent]:
        """Return one event per probed answer."""
        chosen: dict[Key, list[Pictured]] = {}
        for record, png in answers:
            if record.stream == "live" and sampled(record.event_id, self.share):
                key = (record.model.name, record.model.version)
                if (pictured := _pictured(record, png)) is not None:
                    chosen.setdefault(key, []).append(pictured)
        return [
            event
            for key, pictured in chosen.items()
            for event in self._probe_version(key, pictured, now)
        ]

    def _probe_version(
        self, key: Key, chosen: Sequence[Pictured], now: datetime
    ) -> Sequence[records.ProbeEvent]:
        session = self._session(key, now)
        pool = self._pools.setdefault(key, deque(maxlen=POOL))
        lenders = [*pool]
        pool.extend(chosen)
        if session is None or len(lenders) + len(chosen) < 2:  # noqa: PLR2004 - nobody can lend
            return []

        def ask(images: NDArray[np.uint8], /) -> NDArray[np.floating]:
            parts = [session.predict(images[i : i + POOL]) for i in range(0, len(images), POOL)]
            return np.stack([each.probabilities for part in parts for each in part])

        images, regions = _stacked(chosen)
        pool_images, pool_regions = _stacked(lenders) if lenders else (None, None)
        try:
            found = probing.probe(
                ask,
                images,
                regions,
                pool=pool_images,
                pool_regions=pool_regions,
                most=self.most,
            )
        except (ProbeError, RegionError, ModelsError):
            LOG.exception("%s/%s cannot be probed", *key)
            return []
        return [
            _event(each.record, found, number, self.identify(now), now)
            for number, each in enumerate(chosen)
        ]

    def _session(self, key: Key, now: datetime) -> Session | None:
        """Return the version's session; None where it could not be opened a moment ago."""
        session = self._sessions.pop(key, None)
        if session is None:
            failed = self._failed.get(key)
            if failed is not None and timedelta(0) <= now - failed < RETRY_AFTER:
                return None
            try:
                folder = self.registry.version(*key).folder
                session = Session.open(folder, device="cpu", threads=1)
            except ModelsError as error:
                LOG.warning("%s/%s cannot be probed: %s", *key, error)
                self._failed[key] = now
                return None
        self._failed.pop(key, None)
        self._sessions[key] = session
        while len(self._sessions) > MOST_LOADED:
            gone, _ = self._sessions.popitem(last=False)
            self._pools.pop(gone, None)
        return session


def _pictured(record: records.PredictionRecord, png: bytes) -> Pictured | None:
    if record.region is None:
        return None
    image = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    cells = canonical.shares(record.region.shares) >= _HALF
    rows = np.arange(image.shape[0]) * cells.shape[0] // image.shape[0]
    columns = np.arange(image.shape[1]) * cells.shape[1] // image.shape[1]
    region = cells[rows][:, columns]
    # A region of nothing or of everything leaves nothing to be changed.
    return Pictured(record, image, region) if region.any() and not region.all() else None


def _stacked(all_of: Sequence[Pictured]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    return np.stack([each.image for each in all_of]), np.stack([each.region for each in all_of])


def _event(
    record: records.PredictionRecord,
    found: probing.Probed,
    number: int,
    event_id: str,
    now: datetime,
) -> records.ProbeEvent:
    seen = found.of(number)
    measures = {
        "flip": found.flip_share(number),
        "probability_shift": float(np.mean([each.probability_shift for each in seen])),
    }
    for each in seen:
        measures[f"{each.intervention}_flip"] = float(each.flip)
        measures[f"{each.intervention}_probability_shift"] = each.probability_shift
        if each.directed_flip is not None:  # only a swap suggests a class
            measures["directed_flip"] = float(each.directed_flip)
    part = found.carried[number]
    if part is not None:
        measures["part_reliance"] = part.reliance
    source = record.region.source if record.region else "client"
    return records.ProbeEvent(
        event_id=event_id,
        event_time=now,
        prediction_id=record.event_id,
        intervention="all",
        source=source,
        measures=measures,
        falls={} if part is None else part.named(),
    )
