"""How far readers agree beyond chance: Cohen's kappa for two, Krippendorff's alpha for more.

A reading is a verdict of one person about one answer. Only readings that know nothing of each
other count here; an adjudication knows them all, settles what they differ about, and counts not.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from audit import intervals
from audit.intervals import Estimate

_TWO = 2


@dataclass(frozen=True, slots=True)
class Reading:
    """What one person said about one answer.

    Attributes:
        reader: Who.
        verdict: What.
        adjudicates: Whether the person knew the others' verdicts and decides between them.
    """

    reader: str
    verdict: str
    adjudicates: bool = False


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far readers agree.

    Attributes:
        coefficient: "kappa" for two readers, "alpha" for more; "" where nothing was read twice.
        readers: How many persons.
        items: How many answers were read by two or more of them.
        observed: Share of pairs of readings that agree; None where there is none.
        beyond_chance: The coefficient: 1 for perfect agreement, 0 for that of chance; None where
            it is undefined, because only one verdict was ever given.
    """

    coefficient: Literal["kappa", "alpha", ""]
    readers: int
    items: int
    observed: Estimate | None
    beyond_chance: Estimate | None


def independent(readings: Sequence[Reading]) -> dict[str, str]:
    """Return the last verdict of each reader, adjudications left out."""
    return {each.reader: each.verdict for each in readings if not each.adjudicates}


def settled(readings: Sequence[Reading]) -> str | None:
    """Return the verdict that stands; None where there is none, or readers differ about it.

    Args:
        readings: Of one answer, oldest first.
    """
    decided = [each.verdict for each in readings if each.adjudicates]
    said = {decided[-1]} if decided else set(independent(readings).values())
    return said.pop() if len(said) == 1 else None


def measure(items: Sequence[Mapping[str, str]], *, level: float = 0.95) -> Agreement:
    """Return how far readers agree over answers.

    Args:
        items: One mapping per answer, reader → verdict; those with one reader are left out.
        level: Of the intervals.
    """
    read = [each for each in items if len(each) >= _TWO]
    readers = sorted({reader for each in read for reader in each})
    if not read:
        return Agreement("", 0, 0, None, None)
    if len(readers) == _TWO:
        pairs = [(each[readers[0]], each[readers[1]]) for each in read]
        equal = sum(first == second for first, second in pairs)
        observed = intervals.wilson(equal, len(pairs), level=level)
        return Agreement("kappa", _TWO, len(pairs), observed, kappa(pairs, level=level))
    units = [tuple(each.values()) for each in read]
    observed = intervals.wilson(_equal(units) * len(units), len(units), level=level)
    return Agreement("alpha", len(readers), len(units), observed, alpha(units, level=level))


def kappa(pairs: Sequence[tuple[str, str]], *, level: float = 0.95) -> Estimate | None:
    """Return Cohen's kappa of two readers; None where both gave one and the same verdict only.

    κ = (p_o - p_e) / (1 - p_e), p_o the share of equal pairs, p_e that of two readers who draw
    from their own frequencies. As in the paper's standard error, p_e is taken as known; in place
    of its normal interval for p_o stands Wilson's, which does not collapse at perfect agreement.

    Args:
        pairs: Both verdicts of each answer, always in the same order of readers.
        level: Of the interval.

    References:
        Cohen (1960), "A coefficient of agreement for nominal scales", equations 1 and 7.
    """
    count = len(pairs)
    first = Counter(pair[0] for pair in pairs)
    second = Counter(pair[1] for pair in pairs)
    chance = sum(first[verdict] * second[verdict] for verdict in first) / count**2
    return _beyond(sum(a == b for a, b in pairs) / count, chance, count, level)


def alpha(units: Sequence[Sequence[str]], *, level: float = 0.95) -> Estimate | None:
    """Return Krippendorff's alpha for nominal verdicts; None where only one was ever given.

    α = 1 - D_o / D_e: disagreement within answers over that of pairs drawn from all readings. The
    interval is made as for `kappa`, one observation per answer.

    Args:
        units: The verdicts of each answer, two or more, by any readers.
        level: Of the interval.

    References:
        Krippendorff (2011), "Computing Krippendorff's alpha-reliability", section C.
    """
    totals = Counter(verdict for unit in units for verdict in unit)
    readings = sum(totals.values())
    chance = sum(n * (n - 1) for n in totals.values()) / (readings * (readings - 1))
    weighted = sum(len(unit) * _equal([unit]) for unit in units) / readings
    return _beyond(weighted, chance, len(units), level)


def _equal(units: Sequence[Sequence[str]]) -> float:
    """Return the mean share of equal pairs within an answer."""
    shares = [
        sum(n * (n - 1) for n in Counter(unit).values()) / (len(unit) * (len(unit) - 1))
        for unit in units
    ]
    return sum(shares) / len(shares)


def _beyond(observed: float, chance: float, items: int, level: float) -> Estimate | None:
    if chance >= 1.0:
        return None
    share = intervals.wilson(observed * items, items, level=level)
    scaled = [(each - chance) / (1.0 - chance) for each in (observed, share.low, share.high)]
    return Estimate(scaled[0], scaled[1], scaled[2], items, level)
