"""Images and regions reach the classifier by one geometry."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from models.errors import ImageError
from models.preprocessing import prepare, prepare_region, region_on_grid
from models.types import Preprocessing

SIZES = st.integers(1, 40)
REGIONS = st.tuples(SIZES, SIZES).flatmap(lambda shape: arrays.arrays(np.bool_, shape))


def fitted(height: int, width: int, fit: str = "stretch", fraction: float = 1.0) -> Preprocessing:
    return Preprocessing(height, width, (0.5,) * 3, (0.5,) * 3, fit=fit, crop_fraction=fraction)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def loop_on_grid(region: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Each pixel cut into so many parts that every part lies in one cell."""
    fine = np.kron(region, np.ones((rows, columns)))
    height, width = region.shape
    return np.array(
        [
            [
                fine[r * height : (r + 1) * height, c * width : (c + 1) * width].mean()
                for c in range(columns)
            ]
            for r in range(rows)
        ]
    )


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = noise(20, 30)

    assert np.array_equal(image, prepare(image, fitted(20, 30)))
    assert np.array_equal(image, prepare(image, fitted(20, 30, "crop")))


def test_stretching_is_pillows_bilinear_filter() -> None:
    image = noise(50, 31)

    expected = np.asarray(Image.fromarray(image).resize((12, 20), Image.Resampling.BILINEAR))

    assert np.array_equal(expected, prepare(image, fitted(20, 12)))


def test_a_crop_takes_the_centre_after_resizing_the_shorter_side() -> None:
    """Resize 64 x 96 to 32 x 48, then take the middle 28 x 28: the usual crop of 0.875."""
    image = noise(64, 96)

    resized = Image.fromarray(image).resize((48, 32), Image.Resampling.BILINEAR)
    expected = np.asarray(resized.crop((10, 2, 38, 30))).astype(int)

    found = prepare(image, fitted(28, 28, "crop", 0.875)).astype(int)
    # At the border a filter that sees only the kept part differs a little.
    assert np.abs(expected - found)[1:-1, 1:-1].max() <= 1


def test_a_region_lies_where_its_image_lies() -> None:
    """A white box on black, prepared as image and as region, agrees but for the box's edge."""
    region = np.zeros((90, 120), dtype=np.bool_)
    region[20:60, 50:100] = True
    image = np.repeat(region[:, :, None], 3, axis=2).astype(np.uint8) * 255

    for each in (fitted(30, 40), fitted(32, 32), fitted(28, 28, "crop", 0.875)):
        bright = prepare(image, each)[:, :, 0]
        marked = prepare_region(region, each)

        assert marked[bright == 255].all()
        assert not marked[bright == 0].any()
        assert ((bright > 127) != marked).mean() < 0.03


@given(REGIONS, st.integers(1, 9), st.integers(1, 9))
def test_a_region_on_a_grid_agrees_with_a_loop(
    region: np.ndarray, rows: int, columns: int
) -> None:
    expected = loop_on_grid(region, rows, columns)

    found = region_on_grid(region, (rows, columns))

    assert found.dtype == np.float32
    assert np.allclose(expected, found, atol=1e-6)


@given(REGIONS, st.integers(1, 9), st.integers(1, 9))
def test_a_grid_keeps_the_regions_share(region: np.ndarray, rows: int, columns: int) -> None:
    assert region_on_grid(region, (rows, columns)).mean() == pytest.approx(region.mean(), abs=1e-5)


@given(st.tuples(SIZES, SIZES), SIZES, SIZES, st.sampled_from(["stretch", "crop"]))
def test_any_size_becomes_the_size_asked_for(
    shape: tuple[int, int], height: int, width: int, fit: str
) -> None:
    preprocessing = fitted(height, width, fit, 0.875)

    image = prepare(noise(*shape), preprocessing)
    region = prepare_region(np.ones(shape, dtype=np.bool_), preprocessing)

    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert region.shape == (height, width)
    assert region.all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), dtype=np.uint8),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((0, 4, 3), dtype=np.uint8),
    ],
)
def test_what_is_no_rgb_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ImageError, match="expected"):
        prepare(image, fitted(8, 8))


@pytest.mark.parametrize(
    "region", [np.zeros((4, 4), dtype=np.uint8), np.zeros((4, 4, 1), dtype=np.bool_)]
)
def test_what_is_no_region_is_refused(region: np.ndarray) -> None:
    with pytest.raises(ImageError, match="region as bool"):
        prepare_region(region, fitted(8, 8))
    with pytest.raises(ImageError, match="region as bool"):
        region_on_grid(region, (2, 2))


def test_a_grid_without_cells_is_refused() -> None:
    with pytest.raises(ImageError, match="at least 1 x 1"):
        region_on_grid(np.ones((4, 4), dtype=np.bool_), (0, 2))


def test_preprocessing_does_not_load_torch() -> None:
    code = "import models.preprocessing, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "False"
