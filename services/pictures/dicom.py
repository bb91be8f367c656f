"""DICOM files → pixels, for installations with the extra `dicom`.

One frame per file. Grey values go through the modality table and then through the file's first
window, read as LINEAR; without a window their whole occurring range is shown. MONOCHROME1 is
inverted, so that bright always means more. Overlays, tables of interest, annotations and
everything about the patient are left behind.

References:
    DICOM PS3.3, C.7.6.3 (image pixel), C.11.1 (modality LUT), C.11.2 (VOI LUT).
"""

from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from services.errors import TooLargeError, UnreadableImageError, UnsupportedMediaError

if TYPE_CHECKING:
    from pydicom import Dataset

_PREAMBLE = 128
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_GREY = ("MONOCHROME1", "MONOCHROME2")


def is_dicom(content: bytes) -> bool:
    """Whether the bytes announce a DICOM file (PS3.10: "DICM" after a preamble of 128 bytes)."""
    return content[_PREAMBLE : _PREAMBLE + 4] == b"DICM"


def decode(content: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Return the picture as a viewer shows it, uint8 RGB [height, width, 3].

    Raises:
        UnsupportedMediaError: If the extra `dicom` is not installed, or the file is compressed as
            a whole.
        TooLargeError: If it has more than `max_pixels`.
        UnreadableImageError: If it is broken, or holds no single grey or RGB picture.
    """
    if find_spec("pydicom") is None:
        raise UnsupportedMediaError("DICOM needs the extra: pip install 'rightly[dicom]'")
    import pydicom  # noqa: PLC0415 - optional, and 0.2 s that a server without DICOM never spends

    # A deflated data set inflates before any size can be read from it: a bomb, so not even tried.
    if _DEFLATED in content:
        raise UnsupportedMediaError("deflated DICOM is not read; send it uncompressed")
    try:
        return _shown(pydicom.dcmread(BytesIO(content)), max_pixels)
    except (UnsupportedMediaError, TooLargeError, UnreadableImageError):
        raise
    except Exception as error:
        raise UnreadableImageError(f"the DICOM file cannot be read: {error}") from error


def _shown(dataset: "Dataset", max_pixels: int) -> NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_modality_lut  # noqa: PLC0415 - as above

    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows * columns > max_pixels:
        raise TooLargeError(f"{columns}x{rows} pixels; at most {max_pixels} are decoded")
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise UnreadableImageError("the DICOM file has several frames; send the one that is meant")
    kind = str(dataset.PhotometricInterpretation)
    if kind == "RGB" and int(dataset.BitsAllocated) == 8:  # noqa: PLR2004 - bits of a colour channel
        return np.ascontiguousarray(dataset.pixel_array, dtype=np.uint8)
    if kind not in _GREY:
        raise UnreadableImageError(f"DICOM pixels of kind {kind}; send {', '.join(_GREY)} or RGB")
    values = apply_modality_lut(dataset.pixel_array, dataset).astype(np.float64)
    low, high = _window(dataset, values)
    bright = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    grey = np.round(255 * (1 - bright if kind == "MONOCHROME1" else bright)).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _window(dataset: "Dataset", values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the values shown black and white: C.11.2.1.2.1 solved for y = 0 and y = 1."""
    centre, width = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if centre is None or width is None:
        return float(values.min()), float(values.max())
    middle, span = float(np.atleast_1d(centre)[0]) - 0.5, float(np.atleast_1d(width)[0]) - 1
    return middle - span / 2, middle + span / 2
