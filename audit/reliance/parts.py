"""Parts of what is irrelevant in an image, each of which can be exchanged on its own.

A shortcut is a part: a sticker, a letter, a frame, a tint, a texture. What merely surrounds the
evidence is the whole. So the irrelevant pixels are taken apart: into the cells of a grid, the
frame along the image's edge, the colours, and the fine detail. Exchanging one part leaves the
others in place.

All images are uint8 [N, H, W, 3]; regions are boolean [N, H, W], True where evidence is expected.
What lies inside a region is never touched; the inputs are never changed.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from audit.reliance.probes import Images, Regions, averaged, checked, without

# Cells along a side. A cue as wide as an eighth of the image lies in one cell or in two.
GRID = 5
# A cell of which less than this is irrelevant is the region's.
LEAST = 0.25
# Of the image's side, the frame's width and the radius beyond which detail is not fine.
_FRAME = 0.1
_FINE = 0.05


class Whole(StrEnum):
    """The parts that have no place."""

    FRAME = "frame"
    COLOUR = "colour"
    DETAIL = "detail"


def names(grid: int = GRID) -> tuple[str, ...]:
    """Return the parts' names: cells "row,column" from the top left, then the others."""
    cells = tuple(f"{row},{column}" for row in range(grid) for column in range(grid))
    return (*cells, *(each.value for each in Whole))


def present(regions: Regions, grid: int = GRID) -> NDArray[np.bool_]:
    """Return which parts an image has, [N, parts].

    A cell belongs to the irrelevant part from a quarter of its pixels on; frame, colours and
    detail are there wherever anything is irrelevant.
    """
    bands = _bands(regions.shape[1:], grid)
    shares = np.stack(
        [(~regions[:, rows, columns]).mean(axis=(1, 2)) for rows, columns in bands], axis=1
    )
    others = np.ones((len(regions), len(Whole)), bool)
    return np.concatenate([shares >= LEAST, others], axis=1)


def exchanged(
    part: int,
    images: Images,
    regions: Regions,
    donors: Images,
    donor_regions: Regions,
    *,
    grid: int = GRID,
) -> Images:
    """Return the images with one part of another image each.

    Args:
        part: Position among `names(grid)`.
        images: The images.
        regions: Where evidence is expected.
        donors: One other image for each.
        donor_regions: Where evidence is expected in the donors; their relevant part is painted
            over before anything is taken.
        grid: Cells along a side.

    Raises:
        RegionShapeError: If regions, images and donors do not fit.
        EmptyRegionError: If a region covers nothing, or everything.
    """
    checked(images, regions)
    lent = without(donors, donor_regions)
    if part < grid * grid:
        rows, columns = _bands(regions.shape[1:], grid)[part]
        changed = images.copy()
        inside = regions[:, rows, columns, None]
        changed[:, rows, columns] = np.where(
            inside, images[:, rows, columns], lent[:, rows, columns]
        )
        return changed
    kind = tuple(Whole)[part - grid * grid]
    if kind is Whole.FRAME:
        spared = regions | ~_frame(regions.shape[1:])
        return np.where(spared[..., None], images, lent)
    if kind is Whole.COLOUR:
        painted = _recoloured(images, regions, donors, donor_regions)
    else:
        half = max(1, round(_FINE * min(images.shape[1:3])))
        coarse = averaged(images, regions, half)
        painted = coarse + (lent - averaged(donors, donor_regions, half))
        painted = np.where(donor_regions[..., None], coarse, painted)
    rounded = np.rint(painted).clip(0, 255).astype(np.uint8)
    return np.where(regions[..., None], images, rounded)


def erased(cell: int, images: Images, regions: Regions, grid: int = GRID) -> Images:
    """Return the images with one cell painted from what borders on it.

    The mean colours of its four sides' outer neighbours, weighed by their nearness.

    Args:
        cell: Position among the cells of `names(grid)`.
        images: The images.
        regions: Where evidence is expected.
        grid: Cells along a side.

    Raises:
        RegionShapeError: If regions and images do not fit.
        EmptyRegionError: If a region covers nothing, or everything.
    """
    checked(images, regions)
    height, width = images.shape[1:3]
    rows, columns = _bands((height, width), grid)[cell]
    edge = max(1, round(_FINE * min(height, width)))
    sides = (
        (slice(max(0, rows.start - edge), rows.start), columns),
        (slice(rows.stop, min(height, rows.stop + edge)), columns),
        (rows, slice(max(0, columns.start - edge), columns.start)),
        (rows, slice(columns.stop, min(width, columns.stop + edge))),
    )
    down = (np.arange(rows.stop - rows.start) + 0.5)[:, None]
    right = (np.arange(columns.stop - columns.start) + 0.5)[None, :]
    distances = (down, down[::-1], right, right[:, ::-1])
    total = np.zeros((len(images), down.size, right.size, 3))
    weight = np.zeros((down.size, right.size, 1))
    for (up, along), distance in zip(sides, distances, strict=True):
        strip = images[:, up, along]
        if strip.size == 0:
            continue
        near = np.broadcast_to(1.0 / distance, (down.size, right.size))[..., None]
        total += strip.mean(axis=(1, 2))[:, None, None, :] * near
        weight += near
    changed = images.copy()
    painted = np.rint(total / weight).astype(np.uint8)
    inside = regions[:, rows, columns, None]
    changed[:, rows, columns] = np.where(inside, images[:, rows, columns], painted)
    return changed


def _bands(shape: tuple[int, ...], grid: int) -> list[tuple[slice, slice]]:
    """Return rows and columns of each cell."""
    height, width = shape
    downs = [round(height * each / grid) for each in range(grid + 1)]
    rights = [round(width * each / grid) for each in range(grid + 1)]
    return [
        (slice(downs[row], downs[row + 1]), slice(rights[column], rights[column + 1]))
        for row in range(grid)
        for column in range(grid)
    ]


def _frame(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    height, width = shape
    edge = max(1, round(_FRAME * min(height, width)))
    frame = np.ones((height, width), bool)
    frame[edge:-edge, edge:-edge] = False
    return frame


def _recoloured(
    images: Images, regions: Regions, donors: Images, donor_regions: Regions
) -> NDArray[np.floating]:
    """Return the images with mean and spread of each channel as in the donors' irrelevant part."""
    mean, spread = _statistics(images, regions)
    other_mean, other_spread = _statistics(donors, donor_regions)
    painted: NDArray[np.floating] = (images - mean) * (other_spread / spread) + other_mean
    return painted


def _statistics(
    images: Images, regions: Regions
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return mean and spread of the irrelevant pixels, [N, 1, 1, 3] each; spread is at least 1."""
    weights = (~regions[..., None]).astype(np.float64)
    count = weights.sum(axis=(1, 2), keepdims=True)
    mean = (images * weights).sum(axis=(1, 2), keepdims=True) / count
    square = ((images - mean) ** 2 * weights).sum(axis=(1, 2), keepdims=True) / count
    return mean, np.maximum(np.sqrt(square), 1.0)
