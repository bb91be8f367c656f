"""Where answers come from: the part that carries them, over many images.

From what the exchange of each part took from each answer (`carrying`) follow a map over the cells,
the place with the most, and how consistent it is. A sticker that stands now here, now there has no
place; what it has is that single parts carry the answers at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from audit.reliance.parts import GRID, Whole, names

# A part counts for an answer if its exchange takes at least so much of the probability.
LEAST = 0.1
# Cells beside the first that take at least this share of what it takes belong to the place.
_AS_WELL = 0.5
# A place stands if so many of the answers that any part carries are carried from there.
_CONSISTENT = 0.5
_EXAMPLES = 8


Kind: TypeAlias = Literal["place", "frame", "colour", "detail", "changing", ""]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the answers of one class come from.

    Attributes:
        answers: How many were asked about.
        carried: How many of them some part carries.
        part: What carries most of them: "place", "frame", "colour" or "detail"; "changing" where
            single cells do, but now these, now those; "" where nothing carries any.
        left: Left edge of the place, as a share of the width; 0 where it is no place.
        top: Its upper edge, as a share of the height.
        width: Its width; 1 where it is no place.
        height: Its height.
        consistency: Share of all the answers that are carried from there.
        map: Mean fall of the answer's probability as each cell is exchanged, rows of [GRID, GRID].
        examples: Ids of answers that are carried from there, the strongest first.
    """

    answers: int
    carried: int
    part: Kind
    left: float
    top: float
    width: float
    height: float
    consistency: float
    map: tuple[tuple[float, ...], ...]
    examples: tuple[str, ...]

    def said(self, label: str = "") -> str:
        """Return the place in words."""
        of = f"the answers {label!r}" if label else "the answers"
        if not self.part:
            return f"no single part carries {of}"
        share = f"{self.consistency:.0%} of {of}"
        if self.part != "place":
            what = {
                "frame": "the frame along the edge of the picture",
                "colour": "the colours outside the region",
                "detail": "the fine detail outside the region",
                "changing": "single parts outside the region, at changing places,",
            }[self.part]
            verb = "carry" if self.part in {"colour", "changing"} else "carries"
            return f"{what} {verb} {share}"
        size = f"{self.width:.0%} × {self.height:.0%} of the picture"
        return f"{self._whereabouts()}, {size}, carries {share}"

    def _whereabouts(self) -> str:
        down = _third(self.top + self.height / 2, ("upper", "middle", "lower"))
        along = _third(self.left + self.width / 2, ("left", "middle", "right"))
        if along == "middle":
            return {"upper": "top", "middle": "middle", "lower": "bottom"}[down]
        return along if down == "middle" else f"{down} {along}"


def place(found: Sequence[tuple[str, Mapping[str, float]]]) -> Place | None:
    """Return where answers come from.

    Args:
        found: For each answer its id and the fall of its probability per part, by the names of
            `parts.names()`; what is not named was not tried.

    Returns:
        The place; None where no part of any answer was tried.
    """
    known = [(name, falls) for name, falls in found if falls]
    if not known:
        return None
    cells = _map([falls for _, falls in known])
    best = [(name, *max(falls.items(), key=lambda each: each[1])) for name, falls in known]
    carried = [each for each in best if each[2] >= LEAST]
    inside, box = _box(cells)
    kind = _kind([part for _, part, _ in carried], inside)
    of_kind = {"place": inside, "changing": set(names()) - set(Whole)}.get(kind, {kind})
    there = [each for each in carried if each[1] in of_kind]
    left, top, width, height = box if kind == "place" else (0.0, 0.0, 1.0, 1.0)
    shown = sorted(there, key=lambda each: -each[2])[:_EXAMPLES]
    return Place(
        answers=len(known),
        carried=len(carried),
        part=kind,
        left=left,
        top=top,
        width=width,
        height=height,
        consistency=len(there) / len(known),
        map=tuple(tuple(round(float(each), 4) for each in row) for row in cells),
        examples=tuple(name for name, _, _ in shown),
    )


def _kind(suspected: Sequence[str], inside: set[str]) -> Kind:
    """Return what carries most of the answers, by the part that each is carried by."""
    if not suspected:
        return ""
    kinds: tuple[Kind, ...] = ("frame", "colour", "detail")
    counts = {each: suspected.count(each) for each in kinds}
    cells = len(suspected) - sum(counts.values())
    most = max(kinds, key=counts.__getitem__)
    if counts[most] > cells:
        return most
    placed = sum(each in inside for each in suspected)
    return "place" if placed >= _CONSISTENT * cells else "changing"


def _map(found: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
    """Return the mean fall per cell over the answers for which it was tried."""
    total, count = np.zeros((2, GRID, GRID))
    for falls in found:
        for name, fall in falls.items():
            row, comma, column = name.partition(",")
            if comma:
                total[int(row), int(column)] += fall
                count[int(row), int(column)] += 1
    mean: NDArray[np.float64] = total / np.maximum(count, 1.0)
    return mean


def _box(cells: NDArray[np.float64]) -> tuple[set[str], tuple[float, float, float, float]]:
    """Return the cells of the place and its left, top, width and height as shares."""
    row, column = (int(each) for each in np.unravel_index(int(cells.argmax()), cells.shape))
    as_well = (cells >= _AS_WELL * cells[row, column]) & (cells > 0)
    downs, rights = (
        [each for each in (at - 1, at + 1) if 0 <= each < GRID] for at in (row, column)
    )
    rows = [row, *(each for each in downs if as_well[each, column])]
    columns = [column, *(each for each in rights if as_well[row, each])]
    inside = {
        f"{down},{right}"
        for down in range(min(rows), max(rows) + 1)
        for right in range(min(columns), max(columns) + 1)
    }
    left, top = min(columns) / GRID, min(rows) / GRID
    width = (max(columns) - min(columns) + 1) / GRID
    return inside, (left, top, width, (max(rows) - min(rows) + 1) / GRID)


def _third(middle: float, names: tuple[str, str, str]) -> str:
    return names[min(2, int(3 * middle))]
