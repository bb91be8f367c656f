"""From an image of any size to the classifier's input, and the same geometry for regions.

Serving, training and auditing all pass through here, so that a region lies exactly where its
image was put. Normalisation is not done here: it is part of the network.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.errors import ImageError
from models.types import Preprocessing

_COLOUR_AXES = 3
_CHANNELS = 3


def prepare(image: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Resize an RGB image to the classifier's input, with an antialiased bilinear filter.

    Args:
        image: RGB pixels, uint8 [height, width, 3]; any size of at least one pixel.
        preprocessing: The input's size and how the image is fitted to it.

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
    box = _source_box(image.shape[0], image.shape[1], preprocessing)
    size = (preprocessing.width, preprocessing.height)
    resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, box=box)
    return np.array(resized, dtype=np.uint8)


def prepare_region(region: NDArray[np.bool_], preprocessing: Preprocessing) -> NDArray[np.bool_]:
    """Resize a region exactly as `prepare` resizes its image, to the nearest pixel.

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
    box = _source_box(region.shape[0], region.shape[1], preprocessing)
    size = (preprocessing.width, preprocessing.height)
    grey = Image.fromarray(region.astype(np.uint8))
    resized = grey.resize(size, Image.Resampling.NEAREST, box=box)
    return np.array(resized, dtype=np.bool_)


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


def _source_box(
    height: int, width: int, preprocessing: Preprocessing
) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the part of an image that fills the classifier's input."""
    if height < 1 or width < 1:
        raise ImageError(f"expected at least one pixel, got {height} x {width}")
    if preprocessing.fit == "stretch":
        return 0.0, 0.0, float(width), float(height)
    # Source pixels per input pixel, so that the kept part fits into the share of both sides.
    scale = preprocessing.crop_fraction * min(
        height / preprocessing.height, width / preprocessing.width
    )
    kept_height, kept_width = scale * preprocessing.height, scale * preprocessing.width
    top, left = (height - kept_height) / 2, (width - kept_width) / 2
    return left, top, min(left + kept_width, width), min(top + kept_height, height)


def _overlaps(cells: int, pixels: int) -> NDArray[np.float64]:
    """Share of each cell that each pixel covers along one axis, [cells, pixels]; rows sum to 1."""
    edges = np.arange(cells + 1) * (pixels / cells)
    position = np.arange(pixels)
    upper = np.minimum(edges[1:, None], position + 1)
    lower = np.maximum(edges[:-1, None], position)
    overlaps: NDArray[np.float64] = (upper - lower).clip(0) * (cells / pixels)
    return overlaps
