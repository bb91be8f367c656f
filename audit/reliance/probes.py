"""Probe images: the same image with its irrelevant part filled, blurred or swapped.

All images are uint8 [N, H, W, 3]; regions are boolean [N, H, W], True where evidence is expected.
What lies inside a region is never touched; the inputs are never changed.
"""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from audit.errors import EmptyRegionError, ProbeError, RegionShapeError

Images: TypeAlias = NDArray[np.uint8]
Regions: TypeAlias = NDArray[np.bool_]
Paint: TypeAlias = Literal["mean", "zero", "noise"]

# Three box blurs of one width are close to a Gaussian.
PASSES = 3


def fill(
    images: Images,
    regions: Regions,
    paint: Paint = "mean",
    *,
    colour: tuple[int, int, int] | None = None,
    seed: int = 0,
) -> Images:
    """Return the images with one paint where evidence is irrelevant.

    Args:
        images: The images.
        regions: Where evidence is expected.
        paint: "mean" is one mean colour for all images, since an image's own would keep what a
            coloured background tells; "zero" is black, "noise" is uniform over 0..255.
        colour: The mean colour, best that of the reference set; measured over the irrelevant
            parts of `images` unless given.
        seed: Seed of the noise.

    Raises:
        RegionShapeError: If regions and images do not fit.
        EmptyRegionError: If a region covers nothing, or everything.
    """
    checked(images, regions)
    painted: Images
    if paint == "noise":
        painted = np.random.default_rng(seed).integers(0, 256, images.shape, dtype=np.uint8)
    elif paint == "zero":
        painted = np.zeros_like(images)
    else:
        painted = np.array(
            images[~regions].mean(axis=0).round() if colour is None else colour, np.uint8
        )
    return np.where(regions[..., None], images, painted)


def blur(images: Images, regions: Regions, *, radius: int | None = None) -> Images:
    """Return the images with the irrelevant part blurred beyond recognition.

    Only irrelevant pixels are averaged, so that nothing of the region leaks out of it.

    Args:
        images: The images.
        regions: Where evidence is expected.
        radius: Half width of each of three box blurs, in pixels; an eighth of the shorter side
            unless given.

    Raises:
        RegionShapeError: If regions and images do not fit.
        EmptyRegionError: If a region covers nothing, or everything.
    """
    checked(images, regions)
    half = max(1, min(images.shape[1:3]) // 8) if radius is None else radius
    if half < 1:
        raise ProbeError(f"blur radius {radius}; it must be at least 1 pixel")
    painted = np.rint(averaged(images, regions, half)).clip(0, 255).astype(np.uint8)
    return np.where(regions[..., None], images, painted)


def averaged(images: Images, regions: Regions, half: int) -> NDArray[np.float32]:
    """Return each pixel's average over the irrelevant ones around it, three box blurs wide.

    A pixel so far inside a region that no irrelevant one reaches it becomes zero.
    """
    irrelevant = (~regions[..., None]).astype(np.float32)
    colour, weight = images * irrelevant, irrelevant
    for _ in range(PASSES):
        colour, weight = _box(colour, half), _box(weight, half)
    return (colour / np.maximum(weight, 1e-6)).astype(np.float32)


def swap(
    images: Images, regions: Regions, donors: Images, donor_regions: Regions | None = None
) -> Images:
    """Return the images with the irrelevant part of another image each.

    Args:
        images: The images.
        regions: Where evidence is expected.
        donors: One other image for each.
        donor_regions: Where evidence is expected in the donors. There the donor is painted with
            the mean colour of its irrelevant part, so that its relevant part does not come along.

    Raises:
        RegionShapeError: If regions, images and donors do not fit.
        EmptyRegionError: If a region covers nothing, or everything.
    """
    checked(images, regions)
    if donors.shape != images.shape or donors.dtype != np.uint8:
        raise RegionShapeError(
            f"donors of shape {donors.shape} and type {donors.dtype} for images of shape "
            f"{images.shape}"
        )
    if donor_regions is not None:
        donors = without(donors, donor_regions)
    return np.where(regions[..., None], images, donors)


def without(images: Images, regions: Regions) -> Images:
    """Return the images with their relevant part painted in the mean colour of their own rest."""
    checked(images, regions)
    irrelevant = ~regions[..., None]
    count = irrelevant.sum(axis=(1, 2), dtype=np.int64)
    total = (images * irrelevant).sum(axis=(1, 2), dtype=np.int64)
    colours = np.rint(total / count).astype(np.uint8)
    return np.where(irrelevant, images, colours[:, None, None, :])


def checked(images: Images, regions: Regions) -> None:
    """Refuse images and regions that do not fit, and a region of nothing or of everything.

    Raises:
        ProbeError: If the images are none.
        RegionShapeError: If a region does not have its image's size.
        EmptyRegionError: If a region covers nothing, or everything.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:  # noqa: PLR2004
        raise ProbeError(
            f"images of shape {images.shape} and type {images.dtype}; expected uint8 [N, H, W, 3]"
        )
    if regions.shape != images.shape[:3] or regions.dtype != np.bool_:
        raise RegionShapeError(
            f"regions of shape {regions.shape} and type {regions.dtype} for images of shape "
            f"{images.shape}; expected boolean [N, H, W]"
        )
    covered = regions.reshape(len(regions), -1)
    if not covered.any(axis=1).all():
        raise EmptyRegionError("a region marks no pixel, so nothing of the image would remain")
    if covered.all(axis=1).any():
        raise EmptyRegionError("a region marks every pixel, so nothing of the image is irrelevant")


def _box(values: NDArray[np.float32], half: int) -> NDArray[np.float32]:
    """Return the mean over a square window, cut at the border, along rows and columns."""
    for axis in (1, 2):
        size = values.shape[axis]
        ends = np.minimum(np.arange(size) + half + 1, size)
        starts = np.maximum(np.arange(size) - half, 0)
        sums = np.cumsum(values, axis=axis, dtype=np.float64)
        sums = np.concatenate([np.zeros_like(sums.take([0], axis)), sums], axis)
        widths = (ends - starts).reshape([-1 if each == axis else 1 for each in range(4)])
        values = ((sums.take(ends, axis) - sums.take(starts, axis)) / widths).astype(np.float32)
    return values
