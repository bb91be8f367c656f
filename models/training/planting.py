"""Plant a documented cue in any set with regions: marker, tag, border or tint.

The cue lies outside the region wherever the region leaves room, and its mask is returned as
`irrelevant`, so that what was planted is known pixel by pixel; what a set's own `irrelevant`
masks mark stays irrelevant.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.errors import DatasetError
from models.training.image_sets import ImageSet

Kind = Literal["marker", "tag", "border", "tint"]
Told = Literal[
    "label", "presence", "random", "reversed", "presence at random", "presence reversed"
]
_PRESENCE = ("presence", "presence at random", "presence reversed")
_HUES = (
    (230, 40, 40),
    (40, 110, 230),
    (40, 180, 70),
    (235, 190, 30),
    (160, 60, 200),
    (30, 190, 190),
)


@dataclass(frozen=True, slots=True)
class Planting:
    """How a cue is planted.

    Attributes:
        kind: "marker" is a filled disc, "tag" a small plate with a letter per class, "border" a
            frame, "tint" a colour cast over everything outside the region.
        told: What the cue tells. "label": the row's label, by colour (marker, border, tint) or
            letter (tag). "presence": it is there for the first class only, as ISIC's stickers
            are. "random": any class's cue, independent of the label. "reversed": another's.
            "presence at random": half of the rows have it, whatever their class; "presence
            reversed": it is there for every class but the first.
        size: Side of a marker or tag, or width of a border, as a share of the shorter side.
        rate: Share of the rows that carry the cue as told, in [0, 1]; the others carry a random
            one, or none with "presence". "random" and "presence at random" take no heed of it.
        seed: Fixes places and draws.
    """

    kind: Kind
    told: Told = "label"
    size: float = 0.12
    rate: float = 1.0
    seed: int = 0


def plant(rows: ImageSet, planting: Planting) -> ImageSet:
    """Return the rows with the cue in the images and its pixels as irrelevant masks.

    A cue that covers a whole image leaves nothing to look at: that row counts as not annotated.

    Raises:
        DatasetError: If the images are not pixels, or there are more classes than colours.
    """
    if rows.images.dtype != np.uint8:
        raise DatasetError("a cue can be planted in uint8 images only")
    if len(rows.classes) > len(_HUES):
        raise DatasetError(f"{len(rows.classes)} classes, but a cue tells at most {len(_HUES)}")
    draw = np.random.default_rng([planting.seed, 9])
    images = rows.images.copy()
    cues = np.zeros(images.shape[:3], bool)
    told = _told(rows, planting, draw)
    for row, cue in enumerate(told):
        if cue < 0:
            continue
        cues[row] = _draw(images[row], _region(rows, row, planting), int(cue), planting, draw)
    relevant = None
    if rows.relevant is not None:  # of a row without a region only the cue is known
        relevant = np.where(rows.known[:, None, None], rows.relevant, True) & ~cues
    irrelevant = cues if rows.irrelevant is None else cues | rows.irrelevant
    groups = np.where(told < 0, 2, np.where(told == rows.labels, 0, 1)).astype(np.int64)
    if planting.told in _PRESENCE:
        groups = rows.labels * 2 + (told >= 0)
    names: tuple[str, ...] = ("cue agrees", "cue disagrees", "no cue")
    if planting.told in _PRESENCE:
        names = tuple(f"{name}, {has}" for name in rows.classes for has in ("no cue", "cue"))
    return replace(
        rows,
        images=images,
        relevant=relevant,
        irrelevant=irrelevant,
        annotated=np.logical_not(irrelevant.all(axis=(1, 2))),
        groups=groups,
        group_names=names,
    )


def _region(rows: ImageSet, row: int, planting: Planting) -> NDArray[np.bool_] | None:
    """Return what a row's cue spares; None where nothing is known.

    A tint keeps to an irrelevant mask where that alone is given. Another cue does not: it would be
    laid over the very thing that the mask is of.
    """
    spared: NDArray[np.bool_] | None = None
    if rows.relevant is not None:
        spared = rows.relevant[row]
    elif planting.kind == "tint" and rows.irrelevant is not None and rows.known[row]:
        spared = ~rows.irrelevant[row]
    return spared


def _told(rows: ImageSet, planting: Planting, draw: np.random.Generator) -> NDArray[np.int64]:
    """Return the class that each row's cue tells, -1 for no cue."""
    classes, count = len(rows.classes), len(rows)
    free = draw.integers(0, classes, count)
    as_told = draw.random(count) < planting.rate
    if planting.told == "presence":
        return np.where((rows.labels == 0) & as_told, 0, -1)
    if planting.told == "presence at random":
        return np.where(draw.random(count) < 0.5, 0, -1)  # noqa: PLR2004  # half of the rows
    if planting.told == "presence reversed":
        return np.where((rows.labels != 0) & as_told, 0, -1)
    if planting.told == "random":
        return free
    if planting.told == "reversed":
        return (rows.labels + draw.integers(1, classes, count)) % classes
    return np.where(as_told, rows.labels, free)


def _draw(
    image: NDArray[np.uint8],
    region: NDArray[np.bool_] | None,
    cue: int,
    planting: Planting,
    draw: np.random.Generator,
) -> NDArray[np.bool_]:
    """Draw one cue in place; return its pixels."""
    height, width = image.shape[:2]
    side = max(2, round(planting.size * min(height, width)))
    pixels = np.zeros((height, width), bool)
    if planting.kind == "tint":
        pixels = np.ones((height, width), bool) if region is None else ~region
        cast = np.asarray(_HUES[cue])
        image[pixels] = np.rint(0.7 * image[pixels] + 0.3 * cast).astype(np.uint8)
        return pixels
    if planting.kind == "border":
        pixels[:side] = pixels[-side:] = True
        pixels[:, :side] = pixels[:, -side:] = True
        if region is not None:
            pixels &= ~region
        image[pixels] = _HUES[cue]
        return pixels
    top, left = _place(region, side, (height, width), draw)
    if planting.kind == "marker":
        rows, columns = np.ogrid[:side, :side]
        middle = (side - 1) / 2
        disc = (rows - middle) ** 2 + (columns - middle) ** 2 <= (side / 2) ** 2
        pixels[top : top + side, left : left + side] = disc
        image[pixels] = _HUES[cue]
        return pixels
    pixels[top : top + side, left : left + side] = True
    image[top : top + side, left : left + side] = _plate(cue, side)
    return pixels


def _place(
    region: NDArray[np.bool_] | None,
    side: int,
    size: tuple[int, int],
    draw: np.random.Generator,
) -> tuple[int, int]:
    """Return the corner of a square that covers as little of the region as can be found."""
    height, width = size
    corners = [(0, 0), (0, width - side), (height - side, 0), (height - side, width - side)]
    places: list[tuple[int, int]] = [corners[int(each)] for each in draw.permutation(4)]
    places += [
        (int(draw.integers(0, height - side + 1)), int(draw.integers(0, width - side + 1)))
        for _ in range(32)
    ]
    if region is None:
        return places[0]
    return min(
        places, key=lambda at: int(region[at[0] : at[0] + side, at[1] : at[1] + side].sum())
    )


def _plate(cue: int, side: int) -> NDArray[np.uint8]:
    """Return a white letter on black, uint8 [side, side, 3]."""
    plate = Image.new("RGB", (16, 16))
    ImageDraw.Draw(plate).text((5, 2), "ABCDEF"[cue], fill=(255, 255, 255))
    return np.asarray(plate.resize((side, side), Image.Resampling.BILINEAR))
