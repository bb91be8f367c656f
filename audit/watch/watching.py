"""All series under watch, as a function of the events in their order, and of nothing else.

So a restart that loads the stored states goes on bit by bit, and replaying the store from the
first event gives the same states again. Moments are those of the events, ids are derived: there
is no clock and no randomness here.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import numpy as np

from audit import alarms, canonical, records
from audit.alarms import Alarm, Resolution, State
from audit.detectors.esr import TOLERANCE
from audit.detectors.family import Family, Series, Side
from audit.detectors.reference import Reference
from audit.detectors.strangeness import StrangenessReference
from audit.errors import ObservationError, TransitionError
from audit.watch import healthy
from audit.watch.trace import Point
from audit.watch.watched import Watched

# What is watched, and for which change. A heatmap may miss the region, or drown it.
REGION_MEASURES = (
    ("activation_recall", Side.LOW),
    ("activation_recall", Side.HIGH),
    ("relevance_mass", Side.LOW),
)
CONFIDENCE = ("confidence", Side.LOW)
# Of all that a probe tells, reliance on a part separates best the networks that learnt a cue from
# those that read what belongs together (benchmarks/reliance.py, decision 0018). Directed flips,
# which were watched before, do not: alarms over them keep their name.
RELIANCE = (healthy.PART_RELIANCE, Side.HIGH)
STRANGENESS = ("strangeness", Side.HIGH)
# The most detectors that one record feeds: the region measures for the region that came with it
# and for a reviewer's, and one each of the others.
FED_PER_RECORD = 2 * len(REGION_MEASURES) + 3
# Drills are watched under a name of their own and never meet live series.
DRILL = " (drill)"
# What the drill's images are: known to be right before the shortcut is added.
DRILL_REFERENCE = Reference(mean=0.7, deviation=0.15, observations=1000)


class References(Protocol):
    """What was measured on a model version's reference set when it was made."""

    def reference(self, series: Series) -> Reference | None:
        """Return the reference of a series; None where the card has none."""

    def strangeness(self, model: str, version: int) -> StrangenessReference | None:
        """Return the reference of the embeddings; None where the version has none."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What the detectors of one model version promise together.

    Attributes:
        days: Wanted mean days between false alarms of the family.
        records_per_day: Audited records per day.
        tolerance: Smallest fall of a measure that is worth an alarm.
    """

    days: float = 30.0
    records_per_day: float = 1000.0
    tolerance: float = TOLERANCE

    @property
    def family(self) -> Family:
        """The family of detectors that keeps the promise."""
        return Family(self.days, self.records_per_day, FED_PER_RECORD)


@dataclass(frozen=True, slots=True)
class Settled:
    """A watch as it is to be stored.

    Attributes:
        key: The series' key.
        text: Everything about the watch; None for one that ended without a trace.
        model: The series' model.
        version: Its version.
        watch_id: The alarm that it lives through.
        points: Of its past, those that are not stored yet.
        thinned: Whether the stored ones must be thinned with them.
    """

    key: str
    text: str | None
    model: str = ""
    version: int = 0
    watch_id: str = ""
    points: Sequence[Point] = ()
    thinned: bool = False


@dataclass(slots=True)
class Watching:
    """All series under watch.

    Attributes:
        promise: For each model version.
        references: Of the model versions.
        watched: Key of the series → its watch.
        changed: Keys of the watches that have changed since the last `settle`.
    """

    promise: Promise
    references: References
    watched: dict[str, Watched] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)

    def answered(self, record: records.PredictionRecord) -> Sequence[records.AlarmEvent]:
        """Take an answer: its measures, its confidence, its embedding."""
        moved: list[records.AlarmEvent] = []
        if record.region is not None:
            moved += self.located(record, record.region.source, record.measures)
        moved += self._observe(record, CONFIDENCE, "", record.decided.probability)
        if (p := self._p_value(record)) is not None:
            moved += self._observe(record, STRANGENESS, "", p)
        return moved

    def located(
        self, record: records.PredictionRecord, source: str, measures: Mapping[str, float]
    ) -> Sequence[records.AlarmEvent]:
        """Take what was measured against a region of `source`, at once or later."""
        moved: list[records.AlarmEvent] = []
        for measure, side in REGION_MEASURES:
            if measure in measures:
                moved += self._observe(record, (measure, side), source, measures[measure])
        return moved

    def probed(
        self, record: records.PredictionRecord, source: str, measures: Mapping[str, float]
    ) -> Sequence[records.AlarmEvent]:
        """Take how well one part of what is irrelevant carries the answer."""
        name, _side = RELIANCE
        if name not in measures:  # nobody was there who is answered otherwise
            return []
        return self._observe(record, RELIANCE, source, measures[name])

    def acknowledged(self, event: records.AcknowledgementEvent) -> Sequence[records.AlarmEvent]:
        """A person has seen an alarm; nothing happens where it cannot be acknowledged."""

        def step(alarm: Alarm) -> Alarm:
            return alarms.acknowledge(
                alarm, actor=event.actor, reason=event.reason, now=event.event_time
            )

        return self._step(event.alarm_id, step, event.event_time)

    def requested(self, event: records.RequestEvent) -> Sequence[records.AlarmEvent]:
        """An alarm has led to a request; nothing happens where it cannot."""

        def step(alarm: Alarm) -> Alarm:
            return alarms.request(
                alarm,
                event.request_id,
                actor=event.actor,
                reason=event.reason,
                now=event.event_time,
            )

        return self._step(event.alarm_id or "", step, event.event_time)

    def replaced(
        self, model: str, version: int, *, actor: str, now: datetime
    ) -> Sequence[records.AlarmEvent]:
        """Another version answers: end the watches of the others, begin its ended ones afresh."""
        reason = f"{model}/{version} answers now"
        moved: list[records.AlarmEvent] = []
        for key, each in list(self.watched.items()):
            series, alarm = each.series, each.alarm
            if series.model != model:
                continue
            if series.version == version and alarm.state is State.CLOSED:
                self.watched.pop(key)  # it answered before, and was rolled back to
                self.changed.add(key)
            elif series.version != version:
                if alarm.state is not State.CLOSED:
                    each.alarm = alarms.close(
                        alarm, Resolution.REPLACED, actor=actor, reason=reason, now=now
                    )
                    moved += self._event(key, now) if alarm.standing else []
                self.changed.add(key)
        return moved

    def tried(
        self, model: str, version: int, *, actor: str, now: datetime
    ) -> Sequence[records.AlarmEvent]:
        """A version begins to answer a share of the requests: watch it from the beginning."""
        begun = [
            key
            for key, each in self.watched.items()
            if (each.series.model, each.series.version) == (model, version)
        ]
        return self._end(begun, actor=actor, reason="a trial begins", now=now)

    def withdrawn(
        self, model: str, version: int, *, actor: str, now: datetime
    ) -> Sequence[records.AlarmEvent]:
        """A version answers no longer: end its watches, and with them its alarms."""
        moved: list[records.AlarmEvent] = []
        for key, each in self.watched.items():
            same = (each.series.model, each.series.version) == (model, version)
            if same and each.alarm.state is not State.CLOSED:
                was_standing = each.alarm.standing
                each.alarm = alarms.close(
                    each.alarm,
                    Resolution.REPLACED,
                    actor=actor,
                    reason=f"{model}/{version} was withdrawn",
                    now=now,
                )
                moved += self._event(key, now) if was_standing else []
                self.changed.add(key)
        return moved

    def restarted(self, model: str, *, actor: str, now: datetime) -> Sequence[records.AlarmEvent]:
        """End the watches of a drill, so that the next one begins afresh."""
        ended = [key for key, each in self.watched.items() if each.series.model == model]
        return self._end(ended, actor=actor, reason="the drill is over", now=now)

    def _end(
        self, keys: Sequence[str], *, actor: str, reason: str, now: datetime
    ) -> Sequence[records.AlarmEvent]:
        """Forget watches, closing their alarms; the next records begin them afresh."""
        moved: list[records.AlarmEvent] = []
        for key in keys:
            each = self.watched[key]
            if each.alarm.standing:
                each.alarm = alarms.close(
                    each.alarm,
                    Resolution.REPLACED,
                    actor=actor,
                    reason=reason,
                    now=now,
                )
                moved += self._event(key, now)
            self.watched.pop(key)
            self.changed.add(key)
        return moved

    def resourced(
        self, model: str, source: str, *, actor: str, now: datetime
    ) -> Sequence[records.AlarmEvent]:
        """End the watches over a model's regions of one source: they come from elsewhere now."""
        return self._end(
            [
                key
                for key, each in self.watched.items()
                if each.series.model == model and each.series.source == source
            ],
            actor=actor,
            reason=f"the {source} of {model} has changed",
            now=now,
        )

    def standing(self, model: str) -> Sequence[Alarm]:
        """Return the alarms of a model that were raised and are not closed.

        Their evidence counts the records up to now, so that an alarm which was raised after few
        records comes to rest on enough of them; a grave fault is found after the fewest.
        """
        return [
            each.followed
            for each in self.watched.values()
            if each.series.model == model and each.alarm.standing
        ]

    def settle(self) -> Sequence[Settled]:
        """Return each watch that has changed since, as it is to be stored, by key."""
        settled = [self._settled(key) for key in sorted(self.changed)]
        self.changed.clear()
        return settled

    def load(self, texts: Mapping[str, str]) -> None:
        """Replace all watches by stored ones.

        Raises:
            DetectorStateError: If one cannot be read.
        """
        self.watched = {key: Watched.from_text(text) for key, text in texts.items()}
        self.changed.clear()

    def _settled(self, key: str) -> Settled:
        each = self.watched.get(key)
        if each is None:
            return Settled(key, None)
        fresh, thinned = each.trace.taken_away()
        series = each.series
        if series.model.endswith(DRILL):  # nobody looks back at a drill
            fresh, thinned = (), False
        return Settled(
            key, each.to_text(), series.model, series.version, each.alarm.alarm_id, fresh, thinned
        )

    def _p_value(self, record: records.PredictionRecord) -> float | None:
        if record.embedding is None or record.stream == "drill":
            return None
        reference = self.references.strangeness(record.model.name, record.model.version)
        if reference is None:
            return None
        embedding = record.embedding.array().astype(np.float32)[None]
        try:
            return float(reference.p_values(reference.strangeness(embedding))[0])
        except ObservationError:  # an embedding that overflowed is as strange as can be
            return float(1.0 / (len(reference.calibration) + 1.0))

    def _observe(
        self,
        record: records.PredictionRecord,
        what: tuple[str, Side],
        source: str,
        value: float,
    ) -> Sequence[records.AlarmEvent]:
        measure, side = what
        drill = record.stream == "drill"
        series = Series(
            model=record.model.name + (DRILL if drill else ""),
            version=record.model.version,
            measure=measure,
            side=side,
            class_label="" if measure == STRANGENESS[0] or drill else record.decided.label,
            source=source,
        )
        key = series_key(series)
        if key not in self.watched:
            self.watched[key] = self._begin(series, record)
        each = self.watched[key]
        if each.alarm.state is State.CLOSED:
            return []
        self.changed.add(key)
        # Rounding upstream may pass 1 by a hair.
        inside = min(1.0, max(0.0, value))
        moved = each.take(
            inside, self.promise.family, self.promise.tolerance, now=record.event_time
        )
        return self._event(key, record.event_time) if moved else []

    def _begin(self, series: Series, record: records.PredictionRecord) -> Watched:
        family = self.promise.family
        seed = canonical.text([canonical.dump(series), record.event_id])
        alarm = alarms.begin(
            hashlib.sha256(seed).hexdigest()[:26],
            series,
            threshold=family.threshold,
            now=record.event_time,
        )
        if series.measure == STRANGENESS[0]:
            return Watched.of_p_values(series, alarm, family)
        drill = record.stream == "drill"
        known = DRILL_REFERENCE if drill else self.references.reference(series)
        reference = known if drill else healthy.bounded(series.measure, known)
        if reference is None:
            return Watched(series, alarm)
        return Watched.of_reference(series, alarm, family, reference, self.promise.tolerance)

    def _step(self, alarm_id: str, step: "Step", now: datetime) -> Sequence[records.AlarmEvent]:
        for key, each in self.watched.items():
            if each.alarm.alarm_id == alarm_id:
                try:
                    each.alarm = step(each.alarm)
                except TransitionError:
                    return []
                self.changed.add(key)
                return self._event(key, now)
        return []

    def _event(self, key: str, now: datetime) -> list[records.AlarmEvent]:
        each = self.watched[key]
        alarm, series = each.alarm, each.series
        evidence = {
            "observations": float(alarm.evidence.observations),
            "value": alarm.evidence.value,
            "threshold": alarm.evidence.threshold,
        }
        if each.reference is not None:
            evidence["reference"] = each.reference.mean
        last = alarm.steps[-1]
        return [
            records.AlarmEvent(
                event_id=f"{alarm.alarm_id}.{len(alarm.steps)}",
                event_time=now,
                alarm_id=alarm.alarm_id,
                model=series.model,
                version=series.version,
                measure=series.measure,
                class_label=series.class_label,
                side=series.side.value,
                source=series.source,
                state=alarm.state.value,
                evidence=evidence,
                actor=last.actor,
                reason=last.reason,
            )
        ]


class Step(Protocol):
    """One step of an alarm's life."""

    def __call__(self, alarm: Alarm, /) -> Alarm:
        """Return the alarm after the step, or raise `TransitionError`."""


def series_key(series: Series) -> str:
    """Return the name under which the state of a series is stored."""
    return canonical.text(canonical.dump(series)).decode()
