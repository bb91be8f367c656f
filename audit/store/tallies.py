"""Running sums of the measures, per hour and as a histogram: charts read these, never the history.

Only what is current of live answers counts. The sums are integers in units of 2⁻³⁰, so they are
the same in whatever order and portions the events come, and what is superseded leaves no rounding
behind.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from audit.store import bulk, tables

# One in fixed point.
ONE = 2**30
# Equal bins over [0, 1]; what lies outside is counted in the first or last.
BINS = 20
# Under this name the confidence of the answers is counted, and with it the answers themselves.
CONFIDENCE = "confidence"
_HOUR = 13  # characters of a canonical moment that name its hour
_NAMED = ("model", "name", "source", "version", "class_label")


@dataclass(frozen=True, slots=True)
class Value:
    """One measured value of one live answer.

    Attributes:
        model: The model that answered.
        version: Its version.
        name: The measure.
        source: Where the region came from; "" for a measure that needs none.
        class_label: The decided class.
        event_time: When it was answered, as canonical text.
        value: The measure's value.
    """

    model: str
    version: int
    name: str
    source: str
    class_label: str
    event_time: str
    value: float

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Value":
        """Return the value of a row of the table of measures."""
        return cls(**{name: row[name] for name in cls.__slots__})


def count(connection: Connection, values: Iterable[Value], *, sign: int = 1) -> None:
    """Count values; with the sign -1, take them out again."""
    hours: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    bins: defaultdict[tuple[Any, ...], int] = defaultdict(int)
    for each in values:
        named = (each.model, each.name, each.source, each.version, each.class_label)
        sums = hours[(*named, each.event_time[:_HOUR])]
        sums[0] += sign
        sums[1] += sign * fixed(each.value)
        sums[2] += sign * fixed(each.value**2)
        bins[(*named, bin_of(each.value))] += sign
    bulk.insert(
        connection,
        tables.hours,
        [
            _row((*_NAMED, "hour", "n", "total", "squares"), key, sums)
            for key, sums in hours.items()
        ],
        summed=True,
    )
    bulk.insert(
        connection,
        tables.histograms,
        [_row((*_NAMED, "bin", "n"), key, [n]) for key, n in bins.items()],
        summed=True,
    )


def fixed(value: float) -> int:
    """Return a number in fixed point.

    Examples:
        >>> fixed(0.5) == ONE // 2
        True
    """
    return math.floor(value * ONE + 0.5)


def bin_of(value: float) -> int:
    """Return the number of the bin in which a value is counted; 1 belongs to the last.

    Examples:
        >>> [bin_of(each) for each in (-0.1, 0.0, 0.05, 0.99, 1.0)]
        [0, 0, 1, 19, 19]
    """
    return min(BINS - 1, max(0, math.floor(value * BINS)))


def _row(names: Sequence[str], key: tuple[Any, ...], sums: Sequence[int]) -> dict[str, Any]:
    return dict(zip(names, (*key, *sums), strict=True))
