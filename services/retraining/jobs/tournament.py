"""A tournament of ways to learn: all learn briefly, the better half longer, the best in full.

Judged is on validation rows alone, which carry the shortcut as the training rows do. What tells a
shortcut there is an intervention: the masks say what must not matter, and who still answers right
with that painted over, blurred, or exchanged for another image's does not need it. No row without
the cue is asked for. ERM always takes part, so that nothing worse than it wins.

References:
    Karnin, Koren, Somekh (2013), "Almost optimal exploration in multi-armed bandits", algorithm 1:
    sequential halving. Its arms are our entrants, its rounds our rungs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from audit.evaluation.calibration import calibration_error
from audit.reliance import probes, probing
from models.architectures import Classifier
from models.errors import TrainingError
from models.training.image_sets import ImageSet
from models.training.scores import answers

_MOST_ROWS: Final = 2000  # that an entrant learns from before the last round
# Of the planned epochs, by rung, and updates below which a network tells nothing about its method.
_RUNGS: Final = ((0.25, 150), (0.5, 300))
_CALIBRATION_WEIGHT: Final = 0.5
_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """What an entrant shows on the validation rows that have a mask, all in [0, 1].

    Attributes:
        accuracy: On the rows as they are, cue and all.
        painted: With the irrelevant part painted in one mean colour.
        blurred: With it blurred.
        exchanged: With that of any other row.
        reversed: With that of a row of another label; NaN where there is none.
        flips: Share of the right answers that one of these changes.
        calibration: Expected calibration error on the rows as they are.
    """

    accuracy: float
    painted: float
    blurred: float
    exchanged: float
    reversed: float
    flips: float
    calibration: float

    @property
    def score(self) -> float:
        """Mean accuracy over all surroundings, less half of the calibration error."""
        seen = (self.accuracy, self.painted, self.blurred, self.exchanged, self.reversed)
        return float(np.nanmean(seen)) - _CALIBRATION_WEIGHT * self.calibration


@dataclass(frozen=True, slots=True)
class Judged:
    """One entrant in one rung.

    Attributes:
        entrant: Its place in the list.
        rung: Counts from 0.
        epochs: That it learnt for.
        rows: That it learnt from.
        figures: What it showed; None where its training failed.
        failed: Why it did; "" where it did not.
    """

    entrant: int
    rung: int
    epochs: int
    rows: int
    figures: Figures | None
    failed: str = ""

    @property
    def score(self) -> float:
        """Of the figures; -inf without any."""
        return self.figures.score if self.figures else -math.inf

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        shown = {
            name: None if math.isnan(value) else round(value, 4)
            for name, value in (asdict(self.figures) if self.figures else {}).items()
        }
        told = {"rung": self.rung, "epochs": self.epochs, "rows": self.rows, **shown}
        if self.figures:
            return {**told, "score": round(self.score, 4)}
        return {**told, "failed": self.failed}


def masked(rows: ImageSet) -> ImageSet:
    """Return the rows whose irrelevant part is known, and is neither nothing nor everything."""
    _, irrelevant = rows.masks(np.arange(len(rows)))
    shares = irrelevant.mean(axis=(1, 2))
    return rows.take(np.flatnonzero((shares > 0) & (shares < 1)))


def figures(classifier: Classifier, rows: ImageSet) -> Figures:
    """Ask a classifier about masked rows, in their own and in other surroundings.

    Args:
        classifier: Trained.
        rows: As `masked` returns them, at least two.
    """
    images, labels = rows.images.astype(np.uint8), rows.labels
    regions = ~rows.masks(np.arange(len(rows)))[1]
    donors = probing.choose_donors(labels, labels, own=True, seed=_SEED)
    others = probing.any_other(len(rows), seed=_SEED)
    changed = probing.changed(images, regions, images[donors], regions[donors], seed=_SEED)
    changed["mixed"] = probes.swap(images, regions, images[others], regions[others])
    logits = answers(classifier, rows).logits
    right = logits.argmax(axis=1) == labels
    after = {
        name: answers(classifier, replace(rows, images=each)).correct
        for name, each in changed.items()
    }
    foreign = labels[donors] != labels
    kept = np.logical_and.reduce([after[name] for name in ("fill", "blur", "swap")])
    probabilities = _softmax(logits)
    error = calibration_error(probabilities.max(axis=1), right)
    return Figures(
        accuracy=float(right.mean()),
        painted=float(after["fill"].mean()),
        blurred=float(after["blur"].mean()),
        exchanged=float(after["mixed"].mean()),
        reversed=float(after["swap"][foreign].mean()) if foreign.any() else math.nan,
        flips=float((~kept)[right].mean()) if right.any() else 1.0,
        calibration=error(np.ones(len(rows), np.int64)),
    )


def lengths(epochs: int, steps: int) -> list[int]:
    """Return the epochs of each rung.

    Args:
        epochs: Of a training in full, which no rung exceeds.
        steps: Updates in one epoch of an entrant.
    """
    return [
        min(epochs, max(math.ceil(share * epochs), math.ceil(least / steps)))
        for share, least in _RUNGS
    ]


def hold(
    entrants: int,
    lengths: Sequence[int],
    learn: Callable[[int, int], Figures | None],
    *,
    known: Sequence[Judged] = (),
    rows: int,
    told: Callable[[list[Judged]], None],
) -> list[Judged]:
    """Let entrants learn, the better half of each rung longer; return everything that was judged.

    Args:
        entrants: How many; the first is ERM.
        lengths: Epochs of each rung.
        learn: Given entrant and epochs; returns what it shows, or None where it was stopped, which
            ends the tournament.
        known: What an interrupted tournament has judged already.
        rows: That an entrant learns from.
        told: Given everything judged so far, after each.
    """
    judged, remaining = list(known), list(range(entrants))
    for rung, length in enumerate(lengths):
        for entrant in remaining:
            if any((each.entrant, each.rung) == (entrant, rung) for each in judged):
                continue
            try:
                seen = learn(entrant, length)
            except TrainingError as error:
                judged.append(Judged(entrant, rung, length, rows, None, str(error)))
            else:
                if seen is None:
                    return judged
                judged.append(Judged(entrant, rung, length, rows, seen))
            told(judged)
        here = [each for each in judged if each.rung == rung and each.entrant in remaining]
        best = sorted(here, key=lambda each: -each.score)[: math.ceil(len(here) / 2)]
        remaining = sorted(each.entrant for each in best if each.figures is not None)
        if len(remaining) <= 1:
            break
    return judged


def winner(judged: Sequence[Judged]) -> int | None:
    """Return the best entrant of the last rung that anybody finished; None where none did.

    Only rungs count in which every entrant that reached them was judged, but for the last one
    begun: there those judged are compared with one another where the best of the rung before is
    among them.
    """
    valid = [each for each in judged if each.figures is not None]
    if not valid:
        return None
    by_rung = {
        rung: [each for each in valid if each.rung == rung] for rung in {e.rung for e in valid}
    }
    last = max(by_rung)
    if last:
        before = max(by_rung[last - 1], key=lambda each: each.score).entrant
        if before not in {each.entrant for each in by_rung[last]}:
            last -= 1
    return max(by_rung[last], key=lambda each: each.score).entrant


def subset(rows: ImageSet) -> ImageSet:
    """Return what entrants learn from: all rows, or as many of them, drawn at random."""
    if len(rows) <= _MOST_ROWS:
        return rows
    chosen = np.random.default_rng(_SEED).permutation(len(rows))[:_MOST_ROWS]
    return rows.take(np.sort(chosen))


def table(
    entrants: Sequence[Mapping[str, Any]], judged: Sequence[Judged], won: int | None
) -> list[dict[str, Any]]:
    """Return who took part, with every figure, for the record."""
    return [
        {
            "objective": each["objective"],
            "options": dict(each["options"]),
            "won": number == won,
            "rungs": [one.to_json() for one in judged if one.entrant == number],
        }
        for number, each in enumerate(entrants)
    ]


def reason(
    entrants: Sequence[Mapping[str, Any]], judged: Sequence[Judged], won: int | None
) -> str:
    """Say in one sentence who won, and against what."""
    if won is None:
        return "no entrant of the tournament was judged in time, and the ranking decides"
    best = max((each for each in judged if each.entrant == won), key=lambda each: each.rung)
    found = best.figures
    plain = [each for each in judged if each.entrant == 0 and each.figures]
    if found is None:
        return "the tournament has no figures"
    given = ", ".join(f"{name} {value}" for name, value in entrants[won]["options"].items())
    named = f"{entrants[won]['objective']}{f' ({given})' if given else ''}"
    said = (
        f"{named} won among {len(entrants)} ways to learn: {found.flips:.0%} of its right answers "
        f"change with what is irrelevant, {found.accuracy:.0%} are right"
    )
    if won == 0 or not plain or plain[0].figures is None:
        return said
    erm = plain[0].figures
    return f"{said}; of ERM {erm.flips:.0%} and {erm.accuracy:.0%} after {plain[0].epochs} epochs"


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float64)
