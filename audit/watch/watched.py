"""One series under watch: its frozen reference, its detectors, its alarm; survives JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, Self, TypeAlias

from audit import alarms, canonical
from audit.alarms import Alarm, Evidence
from audit.detectors.conformal import ConformalESR
from audit.detectors.cusum import Cusum
from audit.detectors.esr import MixtureESR
from audit.detectors.family import Family, Series
from audit.detectors.reference import Reference
from audit.errors import BaselineError, DetectorStateError, RecordError
from audit.watch.trace import Trace

# Where a reference comes from: the model's card, or the first live records. A reference from
# traffic is the past, not the truth: it cannot find what was wrong from the first day.
Origin: TypeAlias = Literal["card", "traffic"]
# How many records freeze a reference from traffic.
WARM_UP = 200


@dataclass(slots=True)
class Watched:
    """One series under watch.

    Attributes:
        series: What is watched.
        alarm: Its life so far.
        detector: Raises the alarm; None while the reference is not frozen, or cannot be watched.
        drawn: The CUSUM beside it; None where there is none.
        reference: What the detector compares with; None before it is frozen.
        origin: Where the reference comes from.
        warming: The observations that will become the reference; empty once it is frozen.
        unwatchable: Why there can be no detector; "" where there can.
        latest: The last observation, for the gauge.
        trace: The points of its past that are not stored yet.
    """

    series: Series
    alarm: Alarm
    detector: MixtureESR | ConformalESR | None = None
    drawn: Cusum | None = None
    reference: Reference | None = None
    origin: Origin = "traffic"
    warming: list[float] = field(default_factory=list)
    unwatchable: str = ""
    latest: float | None = None
    trace: Trace = field(default_factory=Trace)

    @classmethod
    def of_reference(
        cls, series: Series, alarm: Alarm, family: Family, reference: Reference, tolerance: float
    ) -> Self:
        """Begin a watch against a reference from the model's card."""
        watched = cls(series, alarm, origin="card")
        watched._freeze(family, reference, tolerance)
        return watched

    @classmethod
    def of_p_values(cls, series: Series, alarm: Alarm, family: Family) -> Self:
        """Begin a watch over conformal p values: their reference is in the p values already."""
        detector = ConformalESR(threshold=family.threshold)
        return cls(series, alarm, detector, origin="card")

    def take(self, x: float, family: Family, tolerance: float, *, now: datetime) -> bool:
        """Take an observation in [0, 1]; return whether the alarm has changed its state."""
        self.latest = x
        if self.detector is None:
            self._warm(x, family, tolerance)
            return False
        # A p value is watched for being small as it is.
        seen = x if isinstance(self.detector, ConformalESR) else self.series.oriented(x)
        self.detector.update(seen)
        if self.drawn is not None:
            self.drawn.update(seen)
        drawn = None if self.drawn is None else self.drawn.statistic
        self.trace.take(self.detector.observations, now, self.detector.statistic, drawn)
        before = self.alarm.state
        evidence = Evidence.of(self.detector)
        self.alarm = alarms.observe(self.alarm, self.detector.level, evidence, now=now)
        return self.alarm.state is not before

    @property
    def followed(self) -> Alarm:
        """The alarm, its evidence with the observations that came since it was raised."""
        if self.detector is None:
            return self.alarm
        evidence = replace(self.alarm.evidence, observations=self.detector.observations)
        return replace(self.alarm, evidence=evidence)

    def to_text(self) -> str:
        """Return everything as canonical JSON: equal texts mean bit-equal states."""
        tree = {
            "series": canonical.dump(self.series),
            "alarm": canonical.dump(self.alarm),
            "detector": None if self.detector is None else dict(self.detector.state()),
            "drawn": None if self.drawn is None else dict(self.drawn.state()),
            "reference": canonical.dump(self.reference),
            "origin": self.origin,
            "warming": self.warming,
            "unwatchable": self.unwatchable,
            "latest": self.latest,
            "peaks": [self.trace.peak, self.trace.cusum_peak],
        }
        return canonical.text(tree).decode()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` wrote.

        Raises:
            DetectorStateError: If it is not such a text.
        """
        try:
            tree = json.loads(text)
            reference = tree["reference"]
            # Stores before revision 0004 kept no peaks.
            peak, cusum_peak = tree.get("peaks", [0.0, None])
            return cls(
                series=canonical.load(Series, tree["series"]),
                alarm=canonical.load(Alarm, tree["alarm"]),
                detector=_detector(tree["detector"]),
                drawn=None if tree["drawn"] is None else Cusum.from_state(tree["drawn"]),
                reference=None if reference is None else canonical.load(Reference, reference),
                origin=tree["origin"],
                warming=[float(each) for each in tree["warming"]],
                unwatchable=tree["unwatchable"],
                latest=tree["latest"],
                trace=Trace(float(peak), cusum_peak),
            )
        except (ValueError, KeyError, TypeError, RecordError) as error:
            raise DetectorStateError(f"not the state of a watched series: {error}") from error

    def _warm(self, x: float, family: Family, tolerance: float) -> None:
        if self.unwatchable:
            return
        self.warming.append(x)
        if len(self.warming) >= WARM_UP:
            reference = Reference.of(self.warming)
            self.warming = []
            self._freeze(family, reference, tolerance)

    def _freeze(self, family: Family, reference: Reference, tolerance: float) -> None:
        self.reference = reference
        try:
            self.detector = family.watch(self.series, reference, tolerance=tolerance)
            self.alarm = replace(self.alarm, evidence=Evidence.of(self.detector))
            if reference.deviation > 0.0:
                self.drawn = family.draw(self.series, reference)
        except BaselineError as error:
            self.unwatchable = str(error)


def _detector(state: Mapping[str, Any] | None) -> MixtureESR | ConformalESR | None:
    if state is None:
        return None
    kinds: dict[object, type[MixtureESR | ConformalESR]] = {
        "mixture-esr/1": MixtureESR,
        "conformal-esr/1": ConformalESR,
    }
    if state.get("detector") not in kinds:
        raise DetectorStateError(f"no detector is called {state.get('detector')!r}")
    return kinds[state["detector"]].from_state(state)
