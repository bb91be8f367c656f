"""Images with the statistics of natural scenes, for where no photographs are at hand.

The amplitude spectrum of photographs falls as 1/f; noise with that spectrum, brought to the
contrast of a photograph, drives a network far more as a photograph does than white noise would. It
stands in for real images in the parity check of an export, and the card says so.

References:
    Field 1987, "Relations between the statistics of natural images and the response properties of
    cortical cells", JOSA A 4(12), section 3.
"""

import numpy as np
from numpy.typing import NDArray

_CONTRAST = 50.0  # standard deviation in 0..255, as in a photograph
_SHARED = 0.8  # share of the variation that the three colours have in common


def generate(count: int, height: int, width: int, *, seed: int) -> NDArray[np.uint8]:
    """Return generated images, uint8 [count, height, width, 3].

    Args:
        count: How many.
        height: Rows of each.
        width: Columns of each.
        seed: The same seed gives the same images.
    """
    rng = np.random.default_rng(seed)
    rows = np.fft.fftfreq(height)[:, None]
    columns = np.fft.rfftfreq(width)[None, :]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf  # no share of the mean, which is set below
    planes = np.fft.irfft2(
        np.fft.rfft2(rng.standard_normal((count, 4, height, width))) / frequency, s=(height, width)
    )
    planes /= planes.std(axis=(2, 3), keepdims=True)
    mixed = _SHARED * planes[:, :1] + np.sqrt(1 - _SHARED**2) * planes[:, 1:]
    brightness = rng.uniform(90, 165, (count, 1, 1, 1))
    pixels = np.clip(brightness + _CONTRAST * mixed, 0, 255).round().astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
