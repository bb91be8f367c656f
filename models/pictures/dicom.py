"""DICOM files → pixels, for installations with the extra `dicom`.

One frame per file. Grey values go through the modality transformation, then through the file's
first VOI LUT or, where it has none, its first window, read as its VOI LUT function says; without
either their whole occurring range is shown, pixel padding apart. MONOCHROME1 and the presentation
LUT shape INVERSE are inverted, so that bright always means more. Palettes and other colour
spaces become RGB. Overlays, annotations and everything about the patient are left behind.

References:
    DICOM PS3.3, C.7.6.3 (image pixel), C.7.5.1.1.2 (padding), C.11.1 (modality LUT), C.11.2 (VOI
    LUT), C.11.6 (softcopy presentation LUT); PS3.5, 8.2 and annex A (transfer syntaxes).
"""

import zlib
from importlib.util import find_spec
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.errors import (
    ImageError,
    TooLargeImageError,
    UnreadableImageError,
    UnsupportedImageError,
)

if TYPE_CHECKING:
    from pydicom import Dataset

_PREAMBLE: Final = 128
_META_LENGTH: Final = 140  # where the length of the elements about the file itself stands
_DEFLATED: Final = b"1.2.840.10008.1.2.1.99"
_EXPLICIT: Final = b"1.2.840.10008.1.2.1"
_PIXELS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_COLOUR: Final = {
    "RGB",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_PARTIAL_420",
    "YBR_PARTIAL_422",
    "YBR_ICT",
    "YBR_RCT",
}
_PALETTE: Final = "PALETTE COLOR"
_TABLE_BITS: Final = 16  # up to these, each possible value is looked up instead of each pixel
_BYTE: Final = 8
_AXES: Final = 3
# The groups that a file without preamble begins with, in either byte order (PS3.10, 7.1).
_FIRST_GROUPS: Final = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
_WINDOW: Final = (
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
)


def is_dicom(content: bytes) -> bool:
    """Whether the bytes announce a DICOM file.

    Either by "DICM" after a preamble of 128 bytes (PS3.10), or, as older files do, by a first
    element of group 2 or 8 with a plausible type or length.
    """
    if content[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
        return True
    if content[:2] not in _FIRST_GROUPS or len(content) < _PREAMBLE:
        return False
    explicit = content[4:6].isalpha() and content[4:6].isupper()
    # Without a type a length of 32 bits stands there; first elements are short.
    return explicit or content[6:8] == b"\x00\x00"


def decode(content: bytes, max_pixels: int, max_bytes: int) -> NDArray[np.uint8]:
    """Return the picture as a viewer shows it, uint8 RGB [height, width, 3].

    Raises:
        UnsupportedImageError: If the extra `dicom` is not installed.
        TooLargeImageError: If it has more than `max_pixels`, or inflates to more than `max_bytes`.
        UnreadableImageError: If it is broken, or holds no single picture.
    """
    try:
        dataset = _read(content, max_bytes)
        _check(dataset, max_pixels)
        return _shown(dataset)
    except ImageError:
        raise
    except Exception as error:
        raise UnreadableImageError(f"the DICOM file cannot be read: {error}") from error


def size_of(content: bytes, max_pixels: int, max_bytes: int) -> tuple[int, int]:
    """Return (height, width) from the headers; errors as `decode`."""
    try:
        dataset = _read(content, max_bytes)
        _check(dataset, max_pixels)
        return int(dataset.Rows), int(dataset.Columns)
    except ImageError:
        raise
    except Exception as error:
        raise UnreadableImageError(f"the DICOM file cannot be read: {error}") from error


def _read(content: bytes, max_bytes: int) -> "Dataset":
    if find_spec("pydicom") is None:
        raise UnsupportedImageError("DICOM needs the extra: pip install 'rightly[dicom]'")
    import pydicom  # noqa: PLC0415 - optional, and 0.2 s that a server without DICOM never spends

    # What a value of no interest should have been like is nothing to be told of each file.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    headed = content[_PREAMBLE : _PREAMBLE + 4] == b"DICM"
    dataset = pydicom.dcmread(BytesIO(_inflated(content, max_bytes)), force=not headed)
    if not any(
        each in dataset for each in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    ):
        raise UnreadableImageError("the DICOM file holds no picture")
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        order = (
            pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
        )
        dataset.file_meta.TransferSyntaxUID = order if little else pydicom.uid.ExplicitVRBigEndian
    return dataset


def _inflated(content: bytes, max_bytes: int) -> bytes:
    """Return the file with its data set inflated, where it is deflated as a whole (PS3.5, A.5).

    The library would inflate without an end. What is inflated is explicit little endian, so the
    name of the transfer syntax in the file's own group of elements is replaced by that one's.
    """
    length = content[_META_LENGTH : _META_LENGTH + 4]
    start = _META_LENGTH + 4 + int.from_bytes(length, "little")
    if not content.startswith(b"\x02\x00\x00\x00UL", _PREAMBLE + 4):
        start = min(len(content), 4096)
    if _DEFLATED not in content[:start]:
        return content
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(content[start:], max_bytes + 1)
    if len(plain) > max_bytes:
        raise TooLargeImageError(f"the DICOM file inflates to more than {max_bytes} bytes")
    return content[:start].replace(_DEFLATED, _EXPLICIT.ljust(len(_DEFLATED), b"\0")) + plain


def _check(dataset: "Dataset", max_pixels: int) -> None:
    """Refuse by the headers: the file's own, and that of the compressed frame in it."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows < 1 or columns < 1:
        raise UnreadableImageError(f"the DICOM file has {columns}x{rows} pixels")
    if rows * columns > max_pixels:
        raise TooLargeImageError(f"{columns}x{rows} pixels; at most {max_pixels} are decoded")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise UnreadableImageError(
            f"the DICOM file has several frames ({frames}); send the one that is meant"
        )
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated and "PixelData" in dataset:
        _check_frame(dataset, rows, columns)


def _check_frame(dataset: "Dataset", rows: int, columns: int) -> None:
    """Refuse a compressed frame that is not of the file's size, before it is decoded."""
    from pydicom.encaps import get_frame  # noqa: PLC0415 - as above
    from pydicom.uid import RLELossless  # noqa: PLC0415 - as above

    frame = bytes(get_frame(dataset.PixelData, 0, number_of_frames=1))
    if dataset.file_meta.TransferSyntaxUID == RLELossless:
        return _check_runs(frame, rows * columns)
    try:
        with Image.open(BytesIO(frame), formats=("JPEG", "JPEG2000")) as inner:
            size = inner.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLargeImageError("the DICOM file's frame is too large") from error
    except OSError:
        return None  # of a kind that Pillow does not know, so its decoder is not Pillow
    if size != (columns, rows):
        raise UnreadableImageError(
            f"the DICOM file says {columns}x{rows} pixels, its compressed frame "
            f"{size[0]}x{size[1]}"
        )
    return None


def _check_runs(frame: bytes, pixels: int) -> None:
    """Refuse run lengths that unfold to more than the picture (PS3.5, annex G)."""
    starts = [int.from_bytes(frame[at : at + 4], "little") for at in range(4, 64, 4)]
    number = int.from_bytes(frame[:4], "little")
    starts = [*starts[:number], len(frame)]
    for begin, end in pairwise(starts):
        segment = np.frombuffer(frame[begin:end], np.uint8)
        if _unfolded(segment, 2 * pixels + 256) > 2 * pixels + 256:
            raise UnreadableImageError("the DICOM file's run lengths hold more than its picture")


def _unfolded(segment: NDArray[np.uint8], most: int) -> int:
    """Return how many bytes a segment of PackBits gives; more than `most` are not counted on."""
    at = total = 0
    values = segment.tobytes()
    while at < len(values) and total <= most:
        code = values[at]
        if code < 128:  # noqa: PLR2004 - a literal run of code + 1
            total, at = total + code + 1, at + code + 2
        elif code > 128:  # noqa: PLR2004 - one byte, 257 - code times
            total, at = total + 257 - code, at + 2
        else:
            at += 1
    return total


def _shown(dataset: "Dataset") -> NDArray[np.uint8]:
    kind = str(dataset.PhotometricInterpretation)
    if kind in _COLOUR:
        return _colour(dataset.pixel_array, dataset)
    if kind == _PALETTE:
        from pydicom.pixels.processing import apply_color_lut  # noqa: PLC0415 - as above

        return _scaled(apply_color_lut(dataset.pixel_array, dataset)[:, :, :_AXES])
    if kind not in _GREY:
        known = ", ".join([*_GREY, _PALETTE, *sorted(_COLOUR)])
        raise UnreadableImageError(f"DICOM pixels of kind {kind}; send {known}")
    grey = _grey(_stored(dataset), dataset, kind)
    return np.repeat(grey[:, :, None], _AXES, axis=2)


def _colour(values: NDArray[Any], dataset: "Dataset") -> NDArray[np.uint8]:
    """Return RGB of 8 bits per channel; deeper ones are scaled from the range of their bits."""
    if values.ndim != _AXES or values.shape[2] < _AXES:
        raise UnreadableImageError("the DICOM file says colour, but holds one channel")
    values = values[:, :, :_AXES]
    bits = int(dataset.BitsStored)
    if values.dtype == np.uint8 and bits == _BYTE:
        return np.ascontiguousarray(values)
    scaled = np.clip(values.astype(np.float64) * (255 / (2**bits - 1)), 0, 255)
    whole: NDArray[np.uint8] = np.round(scaled).astype(np.uint8)
    return whole


def _scaled(colours: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the colours of a palette, whose entries have 8 or 16 bits."""
    if colours.dtype.itemsize == 1:
        return np.ascontiguousarray(colours, dtype=np.uint8)
    return np.round(colours.astype(np.float32) / 257).astype(np.uint8)


def _stored(dataset: "Dataset") -> NDArray[Any]:
    """Return the stored values, without what old files keep in the bits that are not used."""
    values: NDArray[Any] = dataset.pixel_array
    stored, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    native = not dataset.file_meta.TransferSyntaxUID.is_encapsulated
    if not native or values.dtype.kind == "f" or not 0 < stored < allocated:
        return values
    shift = max(0, int(dataset.get("HighBit", stored - 1)) + 1 - stored)
    signed = values.dtype.kind == "i"
    whole = values.astype(np.int64) >> shift & (2**stored - 1)
    if signed:
        whole = np.where(whole >= 2 ** (stored - 1), whole - 2**stored, whole)
    found: NDArray[Any] = whole.astype(values.dtype.newbyteorder("="))
    return found


def _grey(stored: NDArray[Any], dataset: "Dataset", kind: str) -> NDArray[np.uint8]:
    """Return grey values, uint8 [rows, columns]; equal stored values give equal ones."""
    if stored.ndim != 2:  # noqa: PLR2004 - rows and columns
        raise UnreadableImageError("the DICOM file says grey, but holds several channels")
    _adopt_functional_groups(dataset)
    shown = _unpadded(stored, dataset)
    inverted = kind == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE"
    if stored.dtype.kind == "f" or stored.dtype.itemsize * 8 > _TABLE_BITS:
        return _rendered(stored, shown, dataset, inverted=inverted)
    least = int(stored.min())
    every = np.arange(least, int(stored.max()) + 1, dtype=np.int64)
    table = _rendered(every, shown, dataset, inverted=inverted)
    grey: NDArray[np.uint8] = table[stored.astype(np.int64) - least]
    return grey


def _rendered(
    values: NDArray[Any], shown: tuple[float, float], dataset: "Dataset", *, inverted: bool
) -> NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_modality_lut  # noqa: PLC0415 - as above

    modal = np.asarray(apply_modality_lut(values, dataset), np.float64)
    sequence = dataset.get("VOILUTSequence")
    if sequence:
        bright = _looked_up(modal, sequence[0])
    else:
        ends = np.asarray(apply_modality_lut(np.asarray(shown), dataset), np.float64)
        bright = _windowed(modal, dataset, (float(ends.min()), float(ends.max())))
    bright = np.clip(bright, 0, 1)
    return np.round(255 * (1 - bright if inverted else bright)).astype(np.uint8)


def _unpadded(stored: NDArray[Any], dataset: "Dataset") -> tuple[Any, Any]:
    """Return the least and the greatest stored value that is no padding."""
    values = stored
    first = dataset.get("PixelPaddingValue")
    if first is not None:
        last = dataset.get("PixelPaddingRangeLimit")
        low, high = sorted((first, first if last is None else last))
        kept = stored[(stored < low) | (stored > high)]
        values = kept if kept.size else stored
    return values.min(), values.max()


def _windowed(
    values: NDArray[np.float64], dataset: "Dataset", occurring: tuple[float, float]
) -> NDArray[np.float64]:
    """Return brightness from 0 to 1, or beyond, by the first window (C.11.2.1.2, C.11.2.1.3)."""
    centre, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if centre is None or width is None or width <= 0:
        low, high = occurring
        return (values - low) / max(high - low, 1e-9)
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if function == "SIGMOID":
        slope = np.clip(-4 * (values - centre) / width, -700, 700)
        return np.asarray(1 / (1 + np.exp(slope)))
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    middle, span = centre - 0.5, width - 1
    if span <= 0:
        return np.where(values > middle, 1.0, 0.0)
    return (values - middle) / span + 0.5


def _first(value: Any) -> float | None:  # noqa: ANN401 - one number, several, or nothing
    """Return the first of a window's values."""
    several = [] if value is None or value == "" else np.atleast_1d(value).ravel().tolist()
    return float(several[0]) if several else None


def _looked_up(values: NDArray[np.float64], item: "Dataset") -> NDArray[np.float64]:
    """Return brightness from 0 to 1 by a VOI LUT (C.11.2.1.1); beyond its ends its end values."""
    entries, first, bits = (int(each) for each in item.LUTDescriptor)
    entries = entries or 65_536
    first = first - 65_536 if first > 32_767 and values.min(initial=0) < 0 else first  # noqa: PLR2004
    table = _table(item, entries)
    place = np.clip(np.floor(values).astype(np.int64) - first, 0, len(table) - 1)
    found: NDArray[np.float64] = table[place] / (2**bits - 1)
    return found


def _table(item: "Dataset", entries: int) -> NDArray[np.float64]:
    """Return the entries of a lookup table, stored as words, or as bytes of 8 bits each."""
    given = item.LUTData
    if isinstance(given, bytes):
        width = np.uint16 if len(given) >= 2 * entries else np.uint8
        big = item.original_encoding[1] is False
        return np.frombuffer(given, np.dtype(width).newbyteorder(">" if big else "<"))[
            :entries
        ].astype(np.float64)
    return np.asarray(given, np.float64)[:entries]


def _adopt_functional_groups(dataset: "Dataset") -> None:
    """Bring an enhanced file's window and slope to where a plain file has them (C.7.6.16)."""
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        groups = dataset.get(name)
        if not groups:
            continue
        for macro in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            found = groups[0].get(macro)
            for tag in _WINDOW if found else ():
                if tag in found[0] and tag not in dataset:
                    setattr(dataset, tag, found[0].get(tag))
