"""What to review next, and why: a draw that can be repeated and weighted, never a hunch.

The newest answers without a verdict compete. How likely each was to be drawn is known and stored
with its review, so that estimates can undo the choice (`audit.sampling`).
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from audit import readings, recent, sampling
from audit.readings import Conflict
from audit.recent import Unreviewed
from audit.records import ReadingKind
from audit.sampling import Interest, QueuePlan

# The answers that compete, and how many of them a random draw takes at the least.
WINDOW, AT_LEAST = 400, 20
SECOND_SHARE = 0.1  # of what one person has read, for a second one
_BANDS = 4  # of priority; within one the order is random
_NO_INTEREST = Interest()
_SHARE = QueuePlan().random_share


@dataclass(frozen=True, slots=True)
class Item:
    """One answer in the queue.

    Attributes:
        prediction_id: The answer.
        stratum: "random", or "chosen" for what a review would teach.
        inclusion: How likely it was to enter, in (0, 1].
        score: Its priority, in [0, 1].
        interest: The parts of the score by name, each in [0, 1]; only those above 0.
        reading: What a review of it will be.
        said: What readers have said, where somebody shall decide between them.
    """

    prediction_id: str
    stratum: str
    inclusion: float
    score: float
    interest: dict[str, float]
    reading: ReadingKind = "first"
    said: Sequence[Mapping[str, str]] = ()


def items(connection: Connection, model: str, *, key: bytes) -> list[Item]:
    """Return the queue of a model, in the order of review.

    Args:
        connection: To the store.
        model: Its name.
        key: A secret of the installation: who knows it could avoid reviews.
    """
    waiting = recent.unreviewed(connection, model, limit=WINDOW)
    counts = Counter(each.record.decided.label for each in waiting)
    plan = QueuePlan(random_share=min(1.0, max(_SHARE, AT_LEAST / max(1, len(waiting)))))
    drawing = hashlib.blake2b(b"review queue", key=key, digest_size=32).digest()
    found = []
    for each in waiting:
        interest = _interest(each, counts)
        choice = sampling.choose(each.record.prediction_id, interest, plan, key=drawing)
        if choice.stratum is not None:
            parts = {name: getattr(interest, name) for name in Interest.__slots__}
            named = {name: round(value, 3) for name, value in parts.items() if value > 0.0}
            found.append(
                Item(
                    each.record.prediction_id,
                    choice.stratum,
                    choice.inclusion,
                    choice.score,
                    named,
                )
            )
    return ordered(found, drawing)


def second(connection: Connection, model: str, *, reader: str, key: bytes) -> list[Item]:
    """Return what another person shall read again: what was asked for, then a random tenth.

    Args:
        connection: To the store.
        model: Its name.
        reader: Who would read; nobody reads an answer twice.
        key: As for `items`.
    """
    asked = readings.asked(connection, model, reader=reader, limit=WINDOW)
    drawing = hashlib.blake2b(b"second reading", key=key, digest_size=32).digest()
    plan = QueuePlan(random_share=SECOND_SHARE, chosen_share=0.0)
    drawn = [
        each
        for each in readings.once(connection, model, reader=reader, limit=WINDOW)
        if sampling.choose(each, _NO_INTEREST, plan, key=drawing).stratum is not None
    ]
    names = dict.fromkeys([*asked, *drawn])
    return [Item(each, "chosen", 1.0, 1.0, {}, reading="second") for each in names]


def differences(connection: Connection, model: str) -> list[Item]:
    """Return the answers about which readers differ, with what each has said."""
    return [
        Item(each.prediction_id, "chosen", 1.0, 1.0, {}, "adjudication", _said(each))
        for each in readings.conflicts(connection, model)
    ]


def _said(conflict: Conflict) -> list[dict[str, str]]:
    return [
        {
            "actor": each.actor,
            "verdict": each.verdict,
            "label": each.label or "",
            "note": each.note,
        }
        for each in conflict.readings
    ]


def ordered(found: Sequence[Item], key: bytes) -> list[Item]:
    """Return items by bands of priority, highest first, in random order within a band."""

    def place(item: Item) -> tuple[int, bytes]:
        draw = hashlib.blake2b(b"order " + item.prediction_id.encode(), key=key, digest_size=16)
        return -min(_BANDS - 1, int(item.score * _BANDS)), draw.digest()

    return sorted(found, key=place)


def _interest(each: Unreviewed, counts: Counter[str]) -> Interest:
    record = each.record
    mass = each.measures.get("relevance_mass")
    return Interest(
        uncertainty=sampling.uncertainty(record.probabilities.array()),
        outside=0.0 if mass is None else min(1.0, max(0.0, 1.0 - mass)),
        flip=each.measures.get("flip", 0.0),
        rarity=sampling.rarity(record.decided.label, counts),
    )
