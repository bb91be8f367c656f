"""The choice of a measure, made without the kind of cue that it is then tested on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

# Images that a figure rests on.
SIZES = (50, 200)
PROMISED = {50: 0.90, 200: 0.95}
# A network counts as relying on the cue from this gap of accuracy between agreeing and disagreeing
# cues on, and as not relying on it up to that one; in between it counts as neither.
SICK, HEALTHY = 0.10, 0.05
BEFORE = "directed flip (before)"
# What may be combined: one of each that has a low correlation with the others.
_COMBINED = 2
Cell = dict[str, Any]
Score = Callable[[Cell, int], NDArray[np.floating]]


@dataclass(frozen=True, slots=True)
class Tables:
    """What is printed, the figures as plain values, and whether every promise is kept."""

    lines: list[str]
    figures: dict[str, Any]
    met: bool


def gap(cell: Cell) -> float:
    """Return how much accuracy the cue's agreement is worth."""
    return float(cell["truth"]["agrees"] - cell["truth"]["disagrees"])


def sick(cell: Cell) -> bool:
    """Return whether a network learnt the cue, by its accuracy."""
    return bool(cell["network"] == "learnt" and gap(cell) >= SICK)


def healthy(cell: Cell, kind: str = "") -> bool:
    """Return whether a network does without the cue, by its accuracy."""
    does = cell["network"] == "never seen" or cell["network"].startswith("cured")
    return bool(does and gap(cell) <= HEALTHY and cell["network"].startswith(kind))


def single(name: str) -> Score:
    """Return a measure as it is."""
    return lambda cell, size: np.array(cell["measures"][name]["draws"][str(size)])


def auc(positive: Sequence[Cell], negative: Sequence[Cell], score: Score, size: int) -> float:
    """Return how often a sick network scores above a healthy one; NaN without one of each."""
    if not positive or not negative:
        return float("nan")
    high = np.concatenate([score(each, size) for each in positive])
    low = np.concatenate([score(each, size) for each in negative])
    ranks = stats.rankdata(np.concatenate([high, low]))[: len(high)]
    return float((ranks.sum() - len(high) * (len(high) + 1) / 2) / (len(high) * len(low)))


def by_set(cells: Sequence[Cell], score: Score, size: int, kind: str = "") -> dict[str, float]:
    """Return the AUC of each set that has both sick and healthy networks."""
    found = {}
    for name in dict.fromkeys(each["set"] for each in cells):
        of_set = [each for each in cells if each["set"] == name]
        value = auc(
            [each for each in of_set if sick(each)],
            [each for each in of_set if healthy(each, kind)],
            score,
            size,
        )
        if not np.isnan(value):
            found[name] = value
    return found


def pooled(cells: Sequence[Cell], score: Score, size: int) -> float:
    """Return the AUC over the networks of all sets at once: what one bound for all can do."""
    return auc(
        [each for each in cells if sick(each)], [c for c in cells if healthy(c)], score, size
    )


def combined(cells: Sequence[Cell], names: Sequence[str], size: int) -> Score:
    """Return a logistic combination of measures, fitted on the sick and healthy of some cells."""
    known = [each for each in cells if sick(each) or healthy(each)]
    scores = [single(name) for name in names]

    def inputs(cell: Cell, wanted: int) -> NDArray[np.floating]:
        return np.stack([score(cell, wanted) for score in scores], axis=1)

    rows = np.concatenate([inputs(each, size) for each in known])
    truth = np.concatenate([np.full(len(inputs(each, size)), sick(each)) for each in known])
    mean, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-9
    signs = np.where(truth, 1.0, -1.0)
    weights = np.where(truth, 0.5 / max(truth.sum(), 1), 0.5 / max((~truth).sum(), 1))

    def loss(parameters: NDArray[np.floating]) -> float:
        margin = signs * (((rows - mean) / spread) @ parameters[:-1] + parameters[-1])
        penalty = 0.02 * (parameters[:-1] ** 2).sum()
        return float((weights * np.logaddexp(0.0, -margin)).sum() + penalty)

    found = optimize.minimize(loss, np.zeros(len(names) + 1)).x
    return lambda cell, wanted: special.expit(
        ((inputs(cell, wanted) - mean) / spread) @ found[:-1] + found[-1]
    )


def best(cells: Sequence[Cell], names: Sequence[str], size: int) -> list[str]:
    """Return the measures by their AUC within and across the sets, the best first, then cheap."""
    passes = cells[0]["measures"]

    def worth(name: str) -> tuple[float, float]:
        found = by_set(cells, single(name), size)
        # A live alarm has one bound for all sets; the worst set counts as much as their mean.
        everything = pooled(cells, single(name), size)
        value = (
            (np.mean([*found.values()]) + min(found.values()) + 2 * everything) / 4
            if found
            else 0.0
        )
        return -round(float(value), 3), float(passes[name]["passes"])

    return sorted(names, key=worth)


def left_out(cells: Sequence[Cell], names: Sequence[str], size: int) -> dict[str, Any]:
    """Choose without each kind of cue, and test on it.

    Returns:
        "chosen": kind → measure; "kinds": kind → AUC over the sets of that kind's networks;
        "sets": set → AUC where every network is scored by what was chosen without its kind;
        "pooled": the same over all sets at once; "combined": of the best pair, by set.
    """
    kinds = sorted({each["kind"] for each in cells})
    chosen, of_kind = {}, {}
    scores: dict[str, Score] = {}
    pairs: dict[str, Score] = {}
    for kind in kinds:
        others = [each for each in cells if each["kind"] != kind]
        if not any(sick(each) for each in others):
            continue
        ranked = best(others, names, size)
        chosen[kind], scores[kind] = ranked[0], single(ranked[0])
        pair = max(
            combinations(ranked[:4], _COMBINED),
            key=lambda two: np.mean(
                [*by_set(others, combined(others, two, size), size).values()] or [0.0]
            ),
        )
        pairs[kind] = combined(others, pair, size)
        tested = by_set([each for each in cells if each["kind"] == kind], scores[kind], size)
        of_kind[kind] = tested
    known = [each for each in cells if each["kind"] in chosen]
    return {
        "chosen": chosen,
        "kinds": of_kind,
        "sets": by_set(known, lambda cell, n: scores[cell["kind"]](cell, n), size),
        "pooled": {"all": pooled(known, lambda cell, n: scores[cell["kind"]](cell, n), size)},
        "combined": by_set(known, lambda cell, n: pairs[cell["kind"]](cell, n), size),
    }


def tables(cells: Sequence[Cell]) -> Tables:
    """Return every table over the cells that there are."""
    names = list(cells[0]["measures"])
    told = [each for each in cells if sick(each) or healthy(each)]
    lines = [_counted(cells)]
    figures: dict[str, Any] = {"networks": len(cells), "measures": {}}
    sets = list(dict.fromkeys(each["set"] for each in told))
    head = "".join(f"{name:>9}{'':>6}" for name in sets)
    lines += [
        "",
        f"{'AUC at 50, at 200 images':44}{'passes':>7} {head}  all   never cured context",
    ]
    for name in best(told, names, SIZES[0]):
        found = {size: by_set(told, single(name), size) for size in SIZES}
        against = [_mean(by_set(told, single(name), 200, kind)) for kind in ("never", "cured")]
        passes = cells[0]["measures"][name]["passes"]
        lines.append(
            f"{name:44}{passes:7.0f} "
            + "".join(
                f"{found[50].get(each, np.nan):9.3f}{found[200].get(each, np.nan):6.3f}"
                for each in sets
            )
            + f"{pooled(told, single(name), 200):6.3f}"
            + "".join(f"{each:6.3f}" for each in against)
            + f"{_context(cells, single(name)):7.3f}"
        )
        figures["measures"][name] = {str(k): v for k, v in found.items()} | {
            "passes": passes,
            "pooled": {str(size): pooled(told, single(name), size) for size in SIZES},
        }
    met = True
    for size in SIZES:
        found = left_out(told, [each for each in names if each != BEFORE], size)
        figures[f"left out, {size}"] = found
        lines += ["", f"chosen without the kind that is tested, {size} images"]
        lines += [
            f"  {kind:12}{found['chosen'][kind]:44}"
            + ", ".join(f"{name} {value:.3f}" for name, value in each.items())
            for kind, each in found["kinds"].items()
        ]
        for what in ("sets", "pooled", "combined"):
            said = ", ".join(f"{name} {value:.3f}" for name, value in found[what].items())
            about = {"sets": "all kinds, by set", "pooled": "all sets at once"}.get(what, "a pair")
            lines.append(f"  {about}: {said}")
        reached = all(value >= PROMISED[size] for value in found["sets"].values())
        lines.append(f"{'met' if reached else 'MISSED':7} AUC >= {PROMISED[size]} on every set")
        met &= reached
    return Tables(lines, figures, met)


def _counted(cells: Sequence[Cell]) -> str:
    counts = {
        "relying on the cue": sum(sick(each) for each in cells),
        "never seen": sum(healthy(each, "never") for each in cells),
        "cured": sum(healthy(each, "cured") for each in cells),
        "trained on the cue, but relying too little to count": sum(
            each["network"] == "learnt" and not sick(each) for each in cells
        ),
        "not cured": sum(
            each["network"].startswith("cured") and not healthy(each) for each in cells
        ),
    }
    return f"{len(cells)} networks: " + ", ".join(f"{n} {name}" for name, n in counts.items())


def _mean(found: Mapping[str, float]) -> float:
    return float(np.mean([*found.values()])) if found else float("nan")


def _context(cells: Sequence[Cell], score: Score) -> float:
    """Return the AUC of sick networks against those that read the surroundings themselves."""
    found = []
    for name in dict.fromkeys(each["set"] for each in cells):
        of_set = [each for each in cells if each["set"] == name]
        value = auc(
            [each for each in of_set if sick(each)],
            [each for each in of_set if each["network"] == "context"],
            score,
            SIZES[1],
        )
        if not np.isnan(value):
            found.append(value)
    return float(np.mean(found)) if found else float("nan")
