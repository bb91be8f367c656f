"""Cues of many kinds, planted outside the region: which of two variants tells the class."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from audit.reliance.probes import averaged

Place = Literal["fixed", "random"]
Images: TypeAlias = NDArray[np.uint8]
Masks: TypeAlias = NDArray[np.bool_]

_HUES = np.array([(40, 150, 200), (205, 120, 40)], np.float64)
# Tries for a random place that leaves the region alone.
_TRIES = 12


@dataclass(frozen=True, slots=True)
class Cue:
    """What is planted.

    Attributes:
        kind: One of `KINDS`.
        place: "fixed", or drawn anew for every image; what covers everything has only one.
        strength: Share of the training rows whose cue is their class's, the others' is the other.
    """

    kind: str
    place: Place = "fixed"
    strength: float = 0.95

    @property
    def name(self) -> str:
        """What files and tables call it."""
        return f"{self.kind}-{self.place}-{round(100 * self.strength)}"


def plant(
    images: Images, regions: Masks, told: NDArray[np.integer], cue: Cue, *, seed: int
) -> tuple[Images, Masks]:
    """Return the images with the variant that `told` names, and the pixels that it changed.

    Args:
        images: uint8 [N, S, S, 3].
        regions: Where evidence is expected; nothing is planted there.
        told: Variant of each image, 0 or 1, [N].
        cue: What to plant.
        seed: Of the places.
    """
    rng = np.random.default_rng([seed, 17])
    draw = KINDS[cue.kind]
    made = images.copy()
    for row in range(len(images)):
        drawn = draw(_Canvas(images[row], regions[row], cue.place, rng), int(told[row]))
        made[row] = np.where(regions[row][..., None], images[row], drawn)
    return made, (made != images).any(axis=3)


@dataclass(frozen=True, slots=True)
class _Canvas:
    """An image, where nothing may be planted in it, and what decides about the place."""

    image: Images
    region: Masks
    place: Place
    rng: np.random.Generator


def _spot(on: _Canvas, side: int) -> tuple[int, int]:
    """Return the top left of a square: in the upper left corner, or where the region is least."""
    size = len(on.image)
    if on.place == "fixed":
        return size // 20, size // 20
    tries = on.rng.integers(0, size - side, (_TRIES, 2))
    covered = [on.region[row : row + side, column : column + side].sum() for row, column in tries]
    row, column = tries[int(np.argmin(covered))]
    return int(row), int(column)


def _disc(on: _Canvas, told: int) -> Images:
    side = max(5, round(0.16 * len(on.image)))
    top, left = _spot(on, side)
    rows, columns = np.mgrid[: len(on.image), : len(on.image)]
    middle = (side - 1) / 2
    disc = (rows - top - middle) ** 2 + (columns - left - middle) ** 2 <= (side / 2) ** 2
    return np.where(disc[..., None], _HUES[told], on.image).astype(np.uint8)


def _letter(on: _Canvas, told: int) -> Images:
    side = max(10, round(0.2 * len(on.image)))
    top, left = _spot(on, side)
    plate = Image.new("RGB", (12, 12))
    ImageDraw.Draw(plate).text((3, 0), "LX"[told], fill=(255, 255, 255))
    made = on.image.copy()
    made[top : top + side, left : left + side] = np.asarray(
        plate.resize((side, side), Image.Resampling.BILINEAR)
    )
    return made


def _watermark(on: _Canvas, told: int) -> Images:
    side = max(10, round(0.28 * len(on.image)))
    top, left = _spot(on, side)
    mark = Image.new("L", (side, side))
    pen = ImageDraw.Draw(mark)
    if told:
        pen.ellipse((1, 1, side - 2, side - 2), outline=255, width=max(2, side // 9))
    else:
        pen.line((1, 1, side - 2, side - 2), fill=255, width=max(2, side // 9))
        pen.line((1, side - 2, side - 2, 1), fill=255, width=max(2, side // 9))
    opaque = 0.4 * np.asarray(mark)[..., None] / 255.0
    made = on.image.astype(np.float64)
    part = made[top : top + side, left : left + side]
    made[top : top + side, left : left + side] = (1 - opaque) * part + opaque * 255.0
    return made.astype(np.uint8)


def _ruler(on: _Canvas, told: int) -> Images:
    size, length = len(on.image), max(4, len(on.image) // 12)
    made = np.zeros((size, size), bool)
    step = max(2, size // 32) * (2 if told else 1)
    made[-length // 2 :, ::step] = True
    made[-length:, :: 4 * step] = True
    turns = 0 if on.place == "fixed" else int(on.rng.integers(4))
    return np.where(np.rot90(made, turns)[..., None], np.uint8(235), on.image)


def _frame(on: _Canvas, told: int) -> Images:
    edge = max(2, len(on.image) // 20)
    inner = np.zeros(on.image.shape[:2], bool)
    inner[edge:-edge, edge:-edge] = True
    return np.where(inner[..., None], on.image, _HUES[told]).astype(np.uint8)


def _tint(on: _Canvas, told: int) -> Images:
    return (0.82 * on.image + 0.18 * _HUES[told]).astype(np.uint8)


def _lines(on: _Canvas, told: int) -> Images:
    size = len(on.image)
    sheet = Image.fromarray(on.image)
    pen = ImageDraw.Draw(sheet)
    offsets = (0.15, 0.5, 0.85) if on.place == "fixed" else on.rng.uniform(0.05, 0.95, 3)
    for each in offsets:
        at, slope = each * size, 0.25 * size
        ends = (at - slope, 0, at + slope, size) if told else (0, at - slope, size, at + slope)
        pen.line(ends, fill=(30, 20, 15), width=1)
    return np.asarray(sheet)


def _texture(on: _Canvas, told: int) -> Images:
    rows, columns = np.mgrid[: len(on.image), : len(on.image)]
    waves = 14.0 * (((columns if told else rows) // 2 % 2) * 2 - 1)
    return np.clip(on.image + waves[..., None], 0, 255).astype(np.uint8)


def _corner(on: _Canvas, told: int) -> Images:
    """Blur a corner for one class; nothing is done to the other."""
    if not told:
        return on.image
    side = round(0.4 * len(on.image))
    everywhere = np.zeros((1, *on.image.shape[:2]), bool)
    soft = averaged(on.image[None], everywhere, max(2, len(on.image) // 16))[0]
    corners = [(0, 0), (0, 1), (1, 0), (1, 1)]
    down, right = corners[0] if on.place == "fixed" else corners[int(on.rng.integers(4))]
    top, left = down * (len(on.image) - side), right * (len(on.image) - side)
    made = on.image.copy()
    made[top : top + side, left : left + side] = soft[top : top + side, left : left + side]
    return made


KINDS: dict[str, Callable[[_Canvas, int], Images]] = {
    "disc": _disc,
    "letter": _letter,
    "watermark": _watermark,
    "ruler": _ruler,
    "frame": _frame,
    "tint": _tint,
    "lines": _lines,
    "texture": _texture,
    "corner": _corner,
}
