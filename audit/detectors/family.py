"""Many series, one promise: the wanted days between false alarms hold for all detectors together.

Let D detectors watch, and let one record feed at most S of them. The sum of their statistics then
grows by at most S per record on average while all is well. When the first of them reaches the
threshold c, so does the sum; hence the mean number of records up to the first false alarm of any
of them is at least c / S. A threshold of N·S promises N records for the whole family, whatever
the dependence between the series; D enters only where every record feeds every detector (S =
D).
"""

from dataclasses import dataclass
from enum import StrEnum

from audit.detectors.cusum import Cusum
from audit.detectors.esr import TOLERANCE, MixtureESR
from audit.detectors.reference import Reference
from audit.errors import BaselineError


class Side(StrEnum):
    """Which change of a measure is watched."""

    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True, slots=True, order=True)
class Series:
    """One sequence of numbers that one detector watches; sources are never mixed.

    Attributes:
        model: Name of the model.
        version: Its version; a new version starts new series.
        measure: What is measured, for example "activation_recall".
        side: Which change is watched: "low" for a fall, "high" for a rise.
        class_label: The class whose records are watched; "" for all classes together.
        source: Where the regions come from, for example "segmenter"; "" for a measure that
            needs none.
    """

    model: str
    version: int
    measure: str
    side: Side
    class_label: str = ""
    source: str = ""

    def oriented(self, x: float) -> float:
        """Return the observation so that the change which is watched for is a fall."""
        return x if self.side is Side.LOW else 1.0 - x

    def __str__(self) -> str:
        """Return the name of the series in reports."""
        scope = f"class {self.class_label}" if self.class_label else "all classes"
        origin = f", region by {self.source}" if self.source else ""
        return f"{self.model}/{self.version}: {self.measure} {self.side} ({scope}{origin})"


@dataclass(frozen=True, slots=True)
class Family:
    """The promise that all detectors of a model version keep together.

    Attributes:
        days: Wanted mean days between false alarms of the whole family, above 0.
        records_per_day: Audited records per day, above 0.
        fed_per_record: How many detectors one record feeds at most: for measures kept per class,
            the measures and sides of one class, not of all.
    """

    days: float
    records_per_day: float
    fed_per_record: int

    def __post_init__(self) -> None:
        if not (self.days > 0.0 and self.records_per_day > 0.0 and self.fed_per_record >= 1):
            raise BaselineError(
                f"{self.days} days, {self.records_per_day} records per day, "
                f"{self.fed_per_record} detectors per record; all must be above 0"
            )

    @property
    def run_length(self) -> float:
        """Promised mean records between false alarms of the whole family."""
        return max(1.0, self.days * self.records_per_day)

    @property
    def threshold(self) -> float:
        """The threshold of each single detector that keeps the promise for all."""
        return self.run_length * self.fed_per_record

    def watch(
        self, series: Series, reference: Reference, *, tolerance: float = TOLERANCE
    ) -> MixtureESR:
        """Return the detector that raises the alarm; feed it `series.oriented(x)`.

        Raises:
            BaselineError: If the reference leaves no room for a fall.
        """
        return MixtureESR.watching(
            _oriented(series, reference), threshold=self.threshold, tolerance=tolerance
        )

    def draw(self, series: Series, reference: Reference) -> Cusum:
        """Return the CUSUM that is drawn beside the alarm; feed it `series.oriented(x)`.

        Raises:
            BaselineError: If the reference never varies.
        """
        return Cusum.watching(_oriented(series, reference), run_length=self.threshold)


def _oriented(series: Series, reference: Reference) -> Reference:
    return reference if series.side is Side.LOW else reference.mirrored()
