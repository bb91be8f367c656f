"""Bytes of a client → pixels, with every limit checked before memory is spent on it.

What counts is what the bytes are, never the name or content type that came with them:

* Formats, told by their first bytes: PNG, JPEG, WebP, TIFF, and DICOM with the extra `dicom`.
  Anything else is 415.
* Size: bytes first, then width × height from the header, before decoding. Too large is 413.
* Truncated or otherwise broken content is 422; nothing is answered about half a picture.
* Animations and stacks of pages are 422: which frame was meant is the caller's to say. The
  pictures that phones append to a JPEG are no frames; its main picture counts.
* EXIF orientation is applied, so the pixels are as a viewer shows them; a region is drawn on that
  view.
* Grey, palette and CMYK become RGB. Transparent pixels show white behind them. 16-bit values
  are scaled from their full range, 0..65535. Float and 32-bit pixels are refused: their range is
  not known.
* Colour profiles are ignored, as they were in training.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.errors import (
    RequestError,
    TooLargeError,
    UnreadableImageError,
    UnsupportedMediaError,
)
from services.pictures import dicom

Pixels = NDArray[np.uint8]
Region = NDArray[np.bool_]
Array = TypeVar("Array", bound=NDArray[Any])

# What Pillow's decoders raise on hostile bytes, found by fuzzing
# (tests/services/pictures/test_decoding.py).
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError)
_BROKEN_FORMATS = (*_BROKEN, struct.error, zlib.error, AttributeError, RuntimeError, MemoryError)
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)

_ORIENTATION: Final = 0x0112
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DEEP: Final = {"I", "I;16", "I;16L", "I;16B", "I;16N"}
_DEEPEST: Final = 65_535
_PLAIN: Final = {"1", "L", "RGB", "CMYK", "YCbCr"}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one image may ask for.

    Attributes:
        max_bytes: Longest encoded content.
        max_pixels: Largest width × height.
    """

    max_bytes: int
    max_pixels: int


def decode_image(content: bytes, limits: Limits) -> Pixels:
    """Return the picture as a viewer shows it, uint8 RGB [height, width, 3].

    Raises:
        UnsupportedMediaError: If the bytes are of no format that is read here.
        TooLargeError: If there are more bytes or pixels than `limits` allows.
        UnreadableImageError: If the content is broken, animated, or of an unknown pixel range.
    """
    _check_bytes(content, limits)
    if dicom.is_dicom(content):
        return dicom.decode(content, limits.max_pixels)
    with _opened(content, format_of(content), limits) as image:
        return _guarded(image, _rgb)


def decode_region(content: bytes, size: tuple[int, int] | None, limits: Limits) -> Region:
    """Return the relevant part of an image: True wherever the PNG has a non-zero value.

    Args:
        content: A PNG; its alpha channel does not count.
        size: (height, width) of the image it belongs to, as a viewer shows it; None for one that
            belongs to no single image.
        limits: As for an image.

    Raises:
        UnsupportedMediaError: If the bytes are no PNG.
        TooLargeError: If there are more bytes or pixels than `limits` allows.
        UnreadableImageError: If the content is broken.
        RequestError: If its size is not `size`, or it marks no pixel.
    """
    _check_bytes(content, limits)
    if not content.startswith(b"\x89PNG"):
        raise UnsupportedMediaError(
            "a region is a PNG of the image's size, non-zero where relevant"
        )
    with _opened(content, "PNG", limits) as image:
        if size is not None and (image.height, image.width) != size:
            given, wanted = f"{image.width}x{image.height}", f"{size[1]}x{size[0]}"
            raise RequestError(f"the region is {given} pixels, its image {wanted}")
        region = _guarded(image, _marked)
    if not region.any():
        raise RequestError("the region marks no pixel: non-zero means relevant")
    return region


def format_of(content: bytes) -> str:
    """Return Pillow's name of the format that the first bytes announce.

    Raises:
        UnsupportedMediaError: If they announce none that is read here.
    """
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[:4] in (b"II*\x00", b"MM\x00*"):
        return "TIFF"
    raise UnsupportedMediaError(
        "send a PNG, JPEG, WebP, TIFF or DICOM file; an address is not fetched"
    )


def _check_bytes(content: bytes, limits: Limits) -> None:
    if len(content) > limits.max_bytes:
        raise TooLargeError(f"{len(content)} bytes; at most {limits.max_bytes} are read")


def _opened(content: bytes, form: str, limits: Limits) -> Image.Image:
    """Read the header, and refuse by what it says."""
    try:
        image = Image.open(BytesIO(content), formats=(form,))
    except _BOMBS as error:
        raise TooLargeError(f"at most {limits.max_pixels} pixels are decoded") from error
    except _BROKEN_FORMATS as error:
        raise UnreadableImageError(f"the {form} file has no readable header") from error
    if image.width * image.height > limits.max_pixels:
        size = f"{image.width}x{image.height}"
        raise TooLargeError(f"{size} pixels; at most {limits.max_pixels} are decoded")
    if form != "JPEG" and _has_second_frame(image):
        raise UnreadableImageError(
            f"the {form} file has several frames; send the one that is meant"
        )
    return image


def _has_second_frame(image: Image.Image) -> bool:
    try:
        image.seek(1)
    except EOFError:
        return False
    except _BROKEN_FORMATS as error:
        raise UnreadableImageError("the file's second frame is broken") from error
    return True


def _guarded(image: Image.Image, read: Callable[[Image.Image], Array]) -> Array:
    try:
        image.load()
        return read(image)
    except _BOMBS as error:
        raise TooLargeError("the file asks for more pixels than its header says") from error
    except _BROKEN_FORMATS as error:
        raise UnreadableImageError(
            f"the {image.format} file is broken or truncated: {error}"
        ) from error


def _rgb(image: Image.Image) -> Pixels:
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    upright = image if turn is None else image.transpose(turn)
    if upright.mode in _DEEP:
        return _from_deep(np.asarray(upright))
    if upright.mode in _PLAIN and "transparency" not in image.info:
        return np.asarray(upright.convert("RGB"))
    if upright.mode in _PLAIN or upright.mode in {"P", "PA", "LA", "La", "RGBA", "RGBa"}:
        layer = upright.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, layer).convert("RGB"))
    raise UnreadableImageError(
        f"pixels of kind {image.mode} have no known range; send 8 or 16 bits"
    )


def _from_deep(values: NDArray[np.generic]) -> Pixels:
    if values.min() < 0 or values.max() > _DEEPEST:
        raise UnreadableImageError("32-bit pixels have no known range; send 8 or 16 bits")
    grey = np.round(values.astype(np.float32) * (255 / _DEEPEST)).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _marked(image: Image.Image) -> Region:
    if image.mode in {"LA", "RGBA"}:
        image = image.convert("L" if image.mode == "LA" else "RGB")
    elif image.mode == "P":
        image = image.convert("RGB")
    values = np.asarray(image)
    return np.asarray(np.atleast_3d(values != 0).any(axis=2))
