"""A heatmap drawn over its image, for people to look at.

Colours are viridis, whose lightness rises evenly with the value, so that equal steps of evidence
look equal, in grey print and to colour-blind readers too. Opacity rises with the value as well:
where there is no evidence, the image stays as it is.

References:
    Smith, van der Walt (2015): viridis, released under CC0.
"""

import base64

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.pictures import png

# Viridis at 26 even steps from 0 to 1; between them, straight lines (within 3 of 255 of the
# original).
_ANCHORS = (
    "440154 471063 481e70 472b7a 453882 414487 3c4f8b 375a8c 32648e "
    "2e6e8e 2a788e 26828e 228b8d 1f958b 1f9e88 22a884 2cb17e 3aba76 "
    "4dc36c 62ca5f 7ad151 93d741 aedc30 c9e01f e4e419 fde725"
)
_STEPS = np.array([list(bytes.fromhex(step)) for step in _ANCHORS.split()], dtype=np.float32)
_TABLE = (
    np.stack(
        [
            np.interp(np.linspace(0, len(_STEPS) - 1, 256), range(len(_STEPS)), _STEPS[:, c])
            for c in range(3)
        ],
        axis=1,
    )
    .round()
    .astype(np.uint8)
)
# Smaller inputs are drawn enlarged by a whole factor, so that a 28-pixel digit can be seen.
_SHORTEST_SIDE = 224
_OPACITY = 0.75


def colours(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the colour of each value in [0, 1], uint8 RGB [..., 3]; others are clipped."""
    return _TABLE[np.round(np.clip(values, 0, 1) * 255).astype(np.intp)]


def stretched(grid: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Return `grid` as float32 [height, width], bilinear between the centres of its cells."""
    image = Image.fromarray(np.ascontiguousarray(grid, dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def layer(grid: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    """Return the heatmap alone, uint8 RGBA [height, width, 4], clear where there is no evidence.

    Args:
        grid: Heatmap in [0, 1], [rows, columns]; covers the whole image.
        height: Of the result, in pixels.
        width: Of the result, in pixels.
    """
    values = stretched(grid, height, width)
    opacity = np.round(np.clip(values, 0, 1) * (255 * _OPACITY)).astype(np.uint8)
    return np.concatenate([colours(values), opacity[:, :, None]], axis=2)


def blend(image: NDArray[np.uint8], grid: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the heatmap over the image, uint8 RGB.

    Args:
        image: Uint8 RGB [height, width, 3]; enlarged by a whole factor where it is very small.
        grid: Heatmap in [0, 1], [rows, columns]; covers the whole image.
    """
    factor = max(1, _SHORTEST_SIDE // min(image.shape[:2]))
    large = image.repeat(factor, axis=0).repeat(factor, axis=1)
    drawn = layer(grid, *large.shape[:2]).astype(np.float32)
    share = drawn[:, :, 3:] / 255
    return np.round(large * (1 - share) + drawn[:, :, :3] * share).astype(np.uint8)


def data_url(pixels: NDArray[np.uint8]) -> str:
    """Return the pixels as a PNG in a data URL, ready for an `img` element."""
    return "data:image/png;base64," + base64.b64encode(png.compressed(pixels)).decode("ascii")
