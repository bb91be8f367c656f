"""Masks → where evidence is expected: one rule for every door that a region comes in by.

A pixel counts where its colour is not black. Where the mask has an alpha channel that varies, it
was drawn on a transparent canvas: then what is transparent does not count, and where everything
that was drawn is black, all of it counts. JPEG blurs edges, so there a pixel counts from half of
the brightness on. A mask is turned as its EXIF orientation says, like a picture.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.errors import RegionRefusedError, UnsupportedImageError
from models.pictures import formats
from models.pictures.decoding import Limits, check_bytes, guarded, opened, upright, upright_size

Region = NDArray[np.bool_]

_LOSSY: Final = "JPEG"
_HALF: Final = 128


def decode_region(content: bytes, size: tuple[int, int] | None, limits: Limits) -> Region:
    """Return the relevant part of an image as a client sends it: a PNG of the image's size.

    Args:
        content: A PNG; see above for what counts.
        size: (height, width) of the image it belongs to, as a viewer shows it; None for one that
            belongs to no single image.
        limits: As for an image.

    Raises:
        UnsupportedImageError: If the bytes are no PNG.
        TooLargeImageError: If there are more bytes or pixels than `limits` allows.
        UnreadableImageError: If the content is broken.
        RegionRefusedError: If its size is not `size`, or it marks no pixel, or every one.
    """
    check_bytes(content, limits)
    if not content.startswith(b"\x89PNG"):
        raise UnsupportedImageError(
            "a region is a PNG of the image's size, non-zero where relevant"
        )
    with opened(content, "PNG", limits) as image:
        found = upright_size(image)
        if size is not None and found != size:
            given, wanted = f"{found[1]}x{found[0]}", f"{size[1]}x{size[0]}"
            raise RegionRefusedError(f"the region is {given} pixels, its image {wanted}")
        region = guarded(image, _marked)
    check(region)
    return region


def decode_mask(content: bytes, limits: Limits) -> Region:
    """Return the marked pixels of a mask file in any format that is read; it may mark none.

    Raises:
        UnsupportedImageError: If the bytes are of no format that is read here.
        TooLargeImageError: If there are more bytes or pixels than `limits` allows.
        UnreadableImageError: If the content is broken.
    """
    check_bytes(content, limits)
    with opened(content, formats.format_of(content), limits) as image:
        return guarded(image, _marked)


def check(region: Region) -> None:
    """Refuse a region that tells nothing.

    Raises:
        RegionRefusedError: If it marks no pixel, or every pixel.
    """
    if told := fault(region):
        raise RegionRefusedError(f"the region {told}")


def fault(region: Region) -> str:
    """Say why a region tells nothing; "" where it tells something.

    Examples:
        >>> fault(np.array([[True, False]]))
        ''
    """
    if not region.any():
        return "marks no pixel: non-zero means relevant; leave it out where nothing is known"
    if region.all():
        return (
            "marks every pixel, so any reason would be right; mark what matters, or leave it out"
        )
    return ""


def _marked(image: Image.Image) -> Region:
    mask = upright(image)
    marks = _bright if image.format == _LOSSY else _coloured
    if mask.mode in {"LA", "La", "PA", "RGBA", "RGBa"} or "transparency" in image.info:
        layer = np.asarray(mask.convert("RGBA"))
        drawn = layer[:, :, 3] > 0
        coloured = marks(layer[:, :, :3])
        if layer[:, :, 3].min() == layer[:, :, 3].max():
            return coloured
        both = drawn & coloured
        return both if both.any() else drawn
    if mask.mode not in {"1", "L", "I", "I;16", "I;16B", "I;16L", "I;16N", "F", "RGB"}:
        mask = mask.convert("RGB")
    return marks(np.atleast_3d(np.asarray(mask)))


def _coloured(values: NDArray[Any]) -> Region:
    return np.asarray((values != 0).any(axis=2))


def _bright(values: NDArray[Any]) -> Region:
    return np.asarray((values >= _HALF).any(axis=2))
