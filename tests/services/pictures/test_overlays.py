from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from services.pictures import overlays
from services.pictures.png import compressed


def lightness(colour) -> float:
    """CIE L* of an sRGB colour, from the definition (IEC 61966-2-1, CIE 15)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour / 255]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (
        116 * luminance ** (1 / 3) - 16 if luminance > (6 / 29) ** 3 else luminance * (29 / 3) ** 3
    )


def test_lightness_rises_evenly_with_the_value() -> None:
    steps = np.diff(
        [lightness(c) for c in overlays.colours(np.linspace(0, 1, 26, dtype=np.float32))]
    )

    assert (steps > 0).all()
    assert steps.max() < 1.6 * steps.min()


def test_colours_clip_what_lies_outside() -> None:
    below, zero, one, above = overlays.colours(np.array([-3, 0, 1, 7], np.float32))

    assert (below == zero).all()
    assert (above == one).all()
    assert [253, 231, 37] == one.tolist()


def test_no_evidence_leaves_the_image_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (224, 230, 3), dtype=np.uint8)

    assert (overlays.blend(image, np.zeros((7, 7), np.float32)) == image).all()


def test_small_images_are_enlarged_by_a_whole_factor() -> None:
    assert (224, 256, 3) == overlays.blend(
        np.zeros((28, 32, 3), np.uint8), np.zeros((7, 7), np.float32)
    ).shape


def test_the_layer_is_brightest_where_the_evidence_is() -> None:
    grid = np.zeros((4, 4), np.float32)
    grid[1, 2] = 1
    opacity = overlays.layer(grid, 40, 40)[:, :, 3]
    row, column = np.unravel_index(opacity.argmax(), opacity.shape)

    assert (1, 2) == (row // 10, column // 10)
    assert opacity[35, 5] == 0


def test_stretching_agrees_with_interpolating_by_hand() -> None:
    """Bilinear between cell centres at (i + 0.5), constant beyond the outermost centres."""
    grid = np.random.default_rng(1).random((3, 5), np.float32)
    rows = np.clip((np.arange(12) + 0.5) * 3 / 12 - 0.5, 0, 2)
    columns = np.clip((np.arange(20) + 0.5) * 5 / 20 - 0.5, 0, 4)
    across = np.stack([np.interp(columns, range(5), row) for row in grid])
    expected = np.stack([np.interp(rows, range(3), across[:, c]) for c in range(20)], axis=1)

    assert expected == pytest.approx(overlays.stretched(grid, 12, 20), abs=1e-6)


def test_a_png_reads_back_as_it_was() -> None:
    pixels = overlays.layer(np.random.default_rng(2).random((7, 7), np.float32), 30, 20)

    assert (np.asarray(Image.open(BytesIO(compressed(pixels)))) == pixels).all()


def test_a_data_url_is_a_png() -> None:
    assert overlays.data_url(np.zeros((2, 2, 3), np.uint8)).startswith(
        "data:image/png;base64,iVBOR"
    )
