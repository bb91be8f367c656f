"""From an image of any size to the classifier's input, and the same geometry for regions.

Serving, training and auditing all pass through here, so that a region lies exactly where its
image was put. Channels and normalisation are not done here: they are part of the network.
"""

from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.errors import ImageError
from models.types import Interpolation, Preprocessing

Pixel = TypeVar("Pixel", np.uint8, np.bool_)

_COLOUR_AXES = 3
_CHANNELS = 3
_FILTERS: Final[dict[Interpolation, Image.Resampling]] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_CUBIC = -0.75  # of Keys' kernel, as torch and OpenCV choose it


def prepare(image: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Fit an RGB image to the classifier's input.

    Args:
        image: RGB pixels, uint8 [height, width, 3]; any size of at least one pixel.
        preprocessing: The input's size, how the image is fitted to it and by which filter; where
            the network takes grey, the image becomes grey first.

    Returns:
        RGB pixels, uint8 [preprocessing.height, preprocessing.width, 3].

    Raises:
        ImageError: If `image` is not uint8 [height, width, 3], or is empty.
    """
    if image.dtype != np.uint8 or image.ndim != _COLOUR_AXES or image.shape[2] != _CHANNELS:
        raise ImageError(
            f"expected RGB pixels as uint8 [height, width, 3], got {image.dtype} "
            f"{list(image.shape)}"
        )
    place = _place(image.shape[0], image.shape[1], preprocessing)
    picture = Image.fromarray(image)
    if preprocessing.channels.startswith("grey"):
        picture = picture.convert("L").convert("RGB")
    if preprocessing.antialias or preprocessing.interpolation in {"nearest", "lanczos"}:
        chosen = _FILTERS[preprocessing.interpolation]
        resized = np.asarray(picture.resize((place.width, place.height), chosen, box=place.box))
    else:
        resized = _interpolated(np.asarray(picture), place, preprocessing.interpolation)
    return _window(resized, place, preprocessing, fill=preprocessing.fill)


def prepare_region(region: NDArray[np.bool_], preprocessing: Preprocessing) -> NDArray[np.bool_]:
    """Fit a region exactly as `prepare` fits its image, to the nearest pixel.

    Args:
        region: True where evidence is expected, bool [height, width], of the image's own size.
        preprocessing: The input's size and how the image is fitted to it.

    Returns:
        bool [preprocessing.height, preprocessing.width]. A region that is thinner than one
        input pixel, or that lies outside the crop, may vanish.

    Raises:
        ImageError: If `region` is not bool [height, width], or is empty.
    """
    if region.dtype != np.bool_ or region.ndim != _COLOUR_AXES - 1:
        raise ImageError(
            f"expected a region as bool [height, width], got {region.dtype} {list(region.shape)}"
        )
    place = _place(region.shape[0], region.shape[1], preprocessing)
    grey = Image.fromarray(region.astype(np.uint8))
    size = (place.width, place.height)
    resized = np.array(grey.resize(size, Image.Resampling.NEAREST, box=place.box), dtype=np.bool_)
    return _window(resized, place, preprocessing, fill=False)


def region_on_grid(region: NDArray[np.bool_], grid: tuple[int, int]) -> NDArray[np.float32]:
    """Return the share of each grid cell that a region covers.

    Cells divide the region evenly; a pixel on a border counts for each cell by its overlap, so
    the mean over the cells is the region's share of the image.

    Args:
        region: True where evidence is expected, bool [height, width].
        grid: Rows and columns of the heatmap, each at least 1.

    Returns:
        Shares in [0, 1], float32 [rows, columns].

    Raises:
        ImageError: If `region` is not bool [height, width] or empty, or `grid` is not positive.
    """
    rows, columns = grid
    if region.dtype != np.bool_ or region.ndim != _COLOUR_AXES - 1 or region.size == 0:
        raise ImageError(
            f"expected a region as bool [height, width], got {region.dtype} {list(region.shape)}"
        )
    if rows < 1 or columns < 1:
        raise ImageError(f"expected a grid of at least 1 x 1 cells, got {rows} x {columns}")
    vertical = _overlaps(rows, region.shape[0])
    horizontal = _overlaps(columns, region.shape[1])
    shares = vertical @ region.astype(np.float64) @ horizontal.T
    return shares.clip(0, 1).astype(np.float32)


class _Place(NamedTuple):
    """Where an image goes: the part that is resized, to which size, and where its corner lies.

    Attributes:
        box: Left, top, right and bottom of the part of the image that is resized.
        height: Rows after that.
        width: Columns after that.
        top: Row of the result that the input begins with; negative where something is filled.
        left: Likewise its column.
    """

    box: tuple[float, float, float, float]
    height: int
    width: int
    top: int
    left: int


def _place(height: int, width: int, preprocessing: Preprocessing) -> _Place:
    if height < 1 or width < 1:
        raise ImageError(f"expected at least one pixel, got {height} x {width}")
    rows, columns = preprocessing.height, preprocessing.width
    whole = (0.0, 0.0, float(width), float(height))
    if preprocessing.fit == "letterbox":
        scale = min(rows / height, columns / width)
        size = max(1, round(height * scale)), max(1, round(width * scale))
        return _centred(whole, size, preprocessing)
    if preprocessing.resize is None:
        box = whole if preprocessing.fit == "stretch" else _cut(height, width, preprocessing)
        return _Place(box, rows, columns, 0, 0)
    side = preprocessing.resize
    if preprocessing.fit == "stretch":
        return _centred(whole, (side, max(1, round(side * columns / rows))), preprocessing)
    # The longer side is cut to whole pixels, as torchvision's Resize does.
    size = (side, side * width // height) if height <= width else (side * height // width, side)
    return _centred(whole, size, preprocessing)


def _centred(
    box: tuple[float, float, float, float], size: tuple[int, int], preprocessing: Preprocessing
) -> _Place:
    """Cut the centre, or fill around it; half a pixel goes as in torchvision's CenterCrop."""
    height, width = size
    top = round((height - preprocessing.height) / 2.0)
    left = round((width - preprocessing.width) / 2.0)
    return _Place(box, height, width, top, left)


def _cut(
    height: int, width: int, preprocessing: Preprocessing
) -> tuple[float, float, float, float]:
    """The centre of an image in the input's proportions, a share of its shorter side."""
    # Source pixels per input pixel, so that the kept part fits into the share of both sides.
    scale = preprocessing.crop_fraction * min(
        height / preprocessing.height, width / preprocessing.width
    )
    kept_height, kept_width = scale * preprocessing.height, scale * preprocessing.width
    top, left = (height - kept_height) / 2, (width - kept_width) / 2
    return left, top, min(left + kept_width, width), min(top + kept_height, height)


def _window(
    resized: NDArray[Pixel], place: _Place, preprocessing: Preprocessing, *, fill: int
) -> NDArray[Pixel]:
    """Return the input's part of a resized image as a copy; what lies outside is filled."""
    rows, columns = preprocessing.height, preprocessing.width
    shape = (rows, columns, *resized.shape[2:])
    out: NDArray[Pixel] = np.full(shape, fill, dtype=resized.dtype)
    top, left = max(place.top, 0), max(place.left, 0)
    part = resized[top : place.top + rows, left : place.left + columns]
    row, column = top - place.top, left - place.left
    out[row : row + part.shape[0], column : column + part.shape[1]] = part
    return out


def _interpolated(
    image: NDArray[np.uint8], place: _Place, interpolation: Interpolation
) -> NDArray[np.uint8]:
    """Resize by a filter that does not widen with the reduction, half pixels aligned."""
    left, top, right, bottom = place.box
    values = image.astype(np.float32)
    for axis, (start, end, size) in enumerate(
        ((top, bottom, place.height), (left, right, place.width))
    ):
        positions, weights = _taps(start, end, size, image.shape[axis], interpolation)
        shape = (1, size, 1) if axis else (size, 1, 1)
        values = np.add.reduce(
            [
                np.take(values, row, axis) * weight.reshape(shape)
                for row, weight in zip(positions, weights, strict=True)
            ]
        )
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _taps(
    start: float, end: float, size: int, pixels: int, interpolation: Interpolation
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return which pixels make each new one along an axis, and their weights, [taps, size]."""
    centres = start + (np.arange(size) + 0.5) * (end - start) / size - 0.5
    first = np.floor(centres)
    offset = centres - first
    if interpolation == "bilinear":
        steps, weights = np.arange(2), np.stack([1 - offset, offset])
    else:
        steps = np.arange(-1, 3)
        weights = np.stack([_keys(np.abs(offset - step)) for step in steps])
    positions = (first[None] + steps[:, None]).clip(0, pixels - 1).astype(np.intp)
    return positions, weights.astype(np.float32)


def _keys(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys (1981), "Cubic convolution interpolation for digital image processing", equation 4."""
    near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance - 4
    return np.where(distance <= 1, near, np.where(distance < 2, _CUBIC * far, 0.0))  # noqa: PLR2004


def _overlaps(cells: int, pixels: int) -> NDArray[np.float64]:
    """Share of each cell that each pixel covers along one axis, [cells, pixels]; rows sum to 1."""
    edges = np.arange(cells + 1) * (pixels / cells)
    position = np.arange(pixels)
    upper = np.minimum(edges[1:, None], position + 1)
    lower = np.maximum(edges[:-1, None], position)
    overlaps: NDArray[np.float64] = (upper - lower).clip(0) * (cells / pixels)
    return overlaps
