"""What is kept of a watch's past: at most `MOST` points, however long it has watched.

A point is written at every so many observations; whenever there are `MOST` of them, the distance
doubles and each two become one. So the distance depends on the number of observations alone, and a
restart goes on with the same points. Between two points the highest statistic is kept too:
thinning hides no alarm.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

# Even, so that the points can be taken in pairs.
MOST = 500


@dataclass(frozen=True, slots=True)
class Point:
    """The evidence after so many observations.

    Attributes:
        observations: How many the detector had taken.
        at: When the last of them was answered.
        value: The detector's statistic.
        peak: The highest statistic since the point before.
        cusum: The CUSUM that is drawn beside it; None where there is none.
        cusum_peak: The highest CUSUM since the point before.
    """

    observations: int
    at: datetime
    value: float
    peak: float
    cusum: float | None = None
    cusum_peak: float | None = None


@dataclass(slots=True)
class Trace:
    """Makes the points of one watch.

    Attributes:
        peak: The highest statistic since the last point.
        cusum_peak: The highest CUSUM since the last point; None where there is none.
        fresh: The points since they were last taken away to be stored.
        thinned: Whether the distance has doubled since then.
    """

    peak: float = 0.0
    cusum_peak: float | None = None
    fresh: list[Point] = field(default_factory=list)
    thinned: bool = False

    def take(self, observations: int, at: datetime, value: float, cusum: float | None) -> None:
        """Take the evidence after one more observation."""
        self.peak = max(self.peak, value)
        if cusum is not None:
            self.cusum_peak = max(self.cusum_peak or 0.0, cusum)
        # At a doubling both distances divide the number.
        if observations % stride(observations):
            return
        self.fresh.append(Point(observations, at, value, self.peak, cusum, self.cusum_peak))
        self.peak, self.cusum_peak = 0.0, None
        self.thinned = self.thinned or stride(observations) > stride(observations - 1)

    def taken_away(self) -> tuple[Sequence[Point], bool]:
        """Return the fresh points and whether older ones must be thinned, and forget both."""
        fresh, thinned = self.fresh, self.thinned
        self.fresh, self.thinned = [], False
        return fresh, thinned


def stride(observations: int) -> int:
    """Return the distance of the points after so many observations: a power of two.

    Examples:
        >>> [stride(each) for each in (1, 499, 500, 999, 1000, 2000)]
        [1, 1, 2, 2, 4, 8]
    """
    return 1 << (observations // MOST).bit_length()


def thinned(points: Sequence[Point]) -> list[Point]:
    """Return points at the distance that the last of them asks for, with the peaks between.

    Args:
        points: In the order of their observations; the last one at a multiple of the distance.
    """
    if not points:
        return []
    distance = stride(points[-1].observations)
    kept: list[Point] = []
    peak, cusum_peak = 0.0, None
    for each in points:
        peak = max(peak, each.peak)
        if each.cusum_peak is not None:
            cusum_peak = max(cusum_peak or 0.0, each.cusum_peak)
        if each.observations % distance == 0:
            kept.append(replace(each, peak=peak, cusum_peak=cusum_peak))
            peak, cusum_peak = 0.0, None
    return kept
