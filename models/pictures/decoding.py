"""Bytes → pixels and regions, with every limit checked before memory is spent on them.

The one reader of pictures: a server, training, evaluation and the command line see the same
pixels. What counts is what the bytes are, never the name or content type that came with them:

* Formats, told by their first bytes: PNG, JPEG, WebP, TIFF and BigTIFF, BMP, GIF, AVIF where
  Pillow is built with it, and DICOM with the extra `dicom`. Others are refused by name.
* Size: bytes first, then width × height from the header, before decoding.
* Truncated or otherwise broken content is refused; nothing is answered about half a picture.
* Animations and stacks of pages are refused: which frame was meant is the caller's to say. The
  pictures that phones append to a JPEG are no frames; its main picture counts.
* EXIF orientation is applied, so the pixels are as a viewer shows them; a region is drawn on that
  view.
* Grey, palette and CMYK become RGB. Transparent pixels show white behind them. 16-bit values
  are scaled from their full range, 0..65535. Float and 32-bit pixels are refused: their range is
  not known.
* Colour profiles are ignored.
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

from models.errors import TooLargeImageError, UnreadableImageError
from models.pictures import dicom, formats

Pixels = NDArray[np.uint8]
Array = TypeVar("Array", bound=NDArray[Any])

# What Pillow's decoders raise on hostile bytes, found by fuzzing
# (tests/models/pictures/test_decoding.py).
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError)
_BROKEN_FORMATS = (*_BROKEN, struct.error, zlib.error, AttributeError, RuntimeError, MemoryError)
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)

_ORIENTATION: Final = 0x0112
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF
_SIDEWAYS: Final = {5, 6, 7, 8}
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
_LAYERED: Final = {"P", "PA", "LA", "La", "RGBA", "RGBa", "RGBX"}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one image may ask for.

    Attributes:
        max_bytes: Longest encoded content.
        max_pixels: Largest width × height.
    """

    max_bytes: int = 20_000_000
    max_pixels: int = 25_000_000


def decode_image(content: bytes, limits: Limits) -> Pixels:
    """Return the picture as a viewer shows it, uint8 RGB [height, width, 3].

    Raises:
        UnsupportedImageError: If the bytes are of no format that is read here.
        TooLargeImageError: If there are more bytes or pixels than `limits` allows.
        UnreadableImageError: If the content is broken, animated, or of an unknown pixel range.
    """
    check_bytes(content, limits)
    if dicom.is_dicom(content):
        return dicom.decode(content, limits.max_pixels, limits.max_bytes)
    with opened(content, formats.format_of(content), limits) as image:
        return guarded(image, _rgb)


def size_of(content: bytes, limits: Limits) -> tuple[int, int]:
    """Return (height, width) of the picture as a viewer shows it, from its header alone.

    Raises:
        UnsupportedImageError: As `decode_image`.
        TooLargeImageError: As `decode_image`.
        UnreadableImageError: If the header is broken, or there are several frames.
    """
    check_bytes(content, limits)
    if dicom.is_dicom(content):
        return dicom.size_of(content, limits.max_pixels, limits.max_bytes)
    with opened(content, formats.format_of(content), limits) as image:
        return upright_size(image)


def stored_orientation(content: bytes, limits: Limits) -> int:
    """Return the EXIF orientation of a picture, 1..8; 1 where it says none.

    Raises:
        UnsupportedImageError, TooLargeImageError, UnreadableImageError: As `size_of`.
    """
    check_bytes(content, limits)
    if dicom.is_dicom(content):
        return 1
    with opened(content, formats.format_of(content), limits) as image:
        return orientation_of(image)


def turned(mask: NDArray[np.bool_], orientation: int) -> NDArray[np.bool_]:
    """Return a mask drawn on the stored rows of a picture as it lies on the upright view."""
    turn = _TURNS.get(orientation)
    if turn is None:
        return mask
    grey = Image.fromarray(mask.astype(np.uint8)).transpose(turn)
    return np.asarray(grey) > 0


def check_bytes(content: bytes, limits: Limits) -> None:
    """Refuse content that is too long.

    Raises:
        TooLargeImageError: If it is.
    """
    if len(content) > limits.max_bytes:
        raise TooLargeImageError(f"{len(content)} bytes; at most {limits.max_bytes} are read")


def opened(content: bytes, form: str, limits: Limits) -> Image.Image:
    """Read the header, and refuse by what it says.

    Raises:
        TooLargeImageError: If it announces more pixels than are decoded.
        UnreadableImageError: If it cannot be read, or announces several frames.
    """
    try:
        image = Image.open(BytesIO(content), formats=(form,))
    except _BOMBS as error:
        raise TooLargeImageError(f"at most {limits.max_pixels} pixels are decoded") from error
    except _BROKEN_FORMATS as error:
        raise UnreadableImageError(f"the {form} file has no readable header") from error
    if image.width * image.height > limits.max_pixels:
        size = f"{image.width}x{image.height}"
        raise TooLargeImageError(f"{size} pixels; at most {limits.max_pixels} are decoded")
    if form != "JPEG" and _has_second_frame(image):
        raise UnreadableImageError(
            f"the {form} file has several frames; send the one that is meant"
        )
    return image


def guarded(image: Image.Image, read: Callable[[Image.Image], Array]) -> Array:
    """Return what `read` makes of an opened picture; every way of being broken is one error.

    Raises:
        TooLargeImageError: If the file asks for more pixels than its header says.
        UnreadableImageError: If it is broken.
    """
    try:
        image.load()
        return read(image)
    except _BOMBS as error:
        raise TooLargeImageError("the file asks for more pixels than its header says") from error
    except UnreadableImageError:
        raise
    except _BROKEN_FORMATS as error:
        raise UnreadableImageError(
            f"the {image.format} file is broken or truncated: {error}"
        ) from error


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1..8; 1 where there is none that can be read."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _BROKEN_FORMATS:
        return 1
    return value if value in _TURNS else 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return (height, width) as a viewer shows the picture."""
    sideways = orientation_of(image) in _SIDEWAYS
    return (image.width, image.height) if sideways else (image.height, image.width)


def upright(image: Image.Image) -> Image.Image:
    """Return the picture as a viewer shows it."""
    turn = _TURNS.get(orientation_of(image))
    return image if turn is None else image.transpose(turn)


def _has_second_frame(image: Image.Image) -> bool:
    if getattr(image, "n_frames", 1) == 1 and image.format in {"BMP", "DIB"}:
        return False
    try:
        image.seek(1)
    except EOFError:
        return False
    except _BROKEN_FORMATS as error:
        raise UnreadableImageError("the file's second frame is broken") from error
    return True


def _rgb(image: Image.Image) -> Pixels:
    shown = upright(image)
    if shown.mode in _DEEP:
        return _from_deep(np.asarray(shown), image)
    if shown.mode in _PLAIN and "transparency" not in image.info:
        return np.asarray(shown.convert("RGB"))
    if shown.mode in _PLAIN or shown.mode in _LAYERED:
        layer = shown.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, layer).convert("RGB"))
    raise UnreadableImageError(
        f"pixels of kind {image.mode} have no known range; send 8 or 16 bits"
    )


def _from_deep(values: NDArray[np.generic], image: Image.Image) -> Pixels:
    """Scale 16-bit grey from the full range of its bits, which may be 12 in a TIFF."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, (16,))
    deepest = 2 ** int(bits[0]) - 1 if bits and int(bits[0]) < 16 else _DEEPEST  # noqa: PLR2004 - bits
    if values.min() < 0 or values.max() > deepest:
        raise UnreadableImageError("32-bit pixels have no known range; send 8 or 16 bits")
    grey = np.round(values.astype(np.float32) * (255 / deepest)).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return np.repeat(grey[:, :, None], 3, axis=2)
