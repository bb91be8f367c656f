"""The parts of what is irrelevant, each exchanged or erased on its own."""

import numpy as np
import pytest

from audit.errors import EmptyRegionError, RegionShapeError
from audit.reliance import parts

SIZE, COUNT = 40, 3
NAMES = parts.names()
REGIONS = np.zeros((COUNT, SIZE, SIZE), bool)
REGIONS[:, 12:28, 12:28] = True
RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
DONORS = RNG.integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)


def exchanged(name: str, images=IMAGES, donors=DONORS) -> np.ndarray:
    return parts.exchanged(NAMES.index(name), images, REGIONS, donors, REGIONS)


@pytest.mark.parametrize("name", NAMES)
def test_what_lies_inside_the_region_is_never_touched(name: str) -> None:
    before = IMAGES.copy()
    changed = exchanged(name)

    assert np.array_equal(IMAGES, before)
    assert np.array_equal(changed[REGIONS], IMAGES[REGIONS])
    assert changed.dtype == np.uint8


def test_a_cell_comes_from_the_donor_and_nothing_else_does() -> None:
    changed = exchanged("4,0")

    assert np.array_equal(changed[:, 32:, :8], DONORS[:, 32:, :8])
    rest = np.ones((SIZE, SIZE), bool)
    rest[32:, :8] = False
    assert np.array_equal(changed[:, rest], IMAGES[:, rest])


def test_a_donors_own_evidence_does_not_come_along() -> None:
    elsewhere = np.zeros_like(REGIONS)
    elsewhere[:, 32:, :8] = True
    changed = parts.exchanged(NAMES.index("4,0"), IMAGES, REGIONS, DONORS, elsewhere)

    painted = changed[:, 32:, :8]
    assert not np.array_equal(painted, DONORS[:, 32:, :8])
    assert (painted == painted[:, :1, :1]).all()  # one mean colour of the donor's rest


def test_the_frame_is_a_tenth_of_the_side_wide() -> None:
    changed = exchanged("frame")

    assert np.array_equal(changed[:, :4], DONORS[:, :4])
    assert np.array_equal(changed[:, 4:-4, 4:-4], IMAGES[:, 4:-4, 4:-4])


def test_colours_are_exchanged_without_the_pattern() -> None:
    red = (0.2 * IMAGES + 0.8 * np.array([200, 30, 30])).astype(np.uint8)
    changed = exchanged("colour", donors=red)

    rest = ~REGIONS
    assert changed[rest].mean(axis=0) == pytest.approx(red[rest].mean(axis=0), abs=1.5)
    pattern = np.corrcoef(changed[rest][:, 0], IMAGES[rest][:, 0])[0, 1]
    assert pattern > 0.95


def test_fine_detail_is_exchanged_without_the_colours() -> None:
    rows = np.arange(SIZE)[:, None, None]
    striped = np.broadcast_to(120 + 40 * (rows % 2 * 2 - 1), IMAGES.shape).astype(np.uint8)
    plain = np.full_like(IMAGES, 60)
    changed = exchanged("detail", images=plain, donors=striped)

    rest = changed[0, :8, :, 0].astype(float)
    assert rest.mean() == pytest.approx(60, abs=4)
    assert abs(rest[1::2].mean() - rest[::2].mean()) > 50


def test_an_erased_cell_takes_the_colours_around_it() -> None:
    image = np.full((1, SIZE, SIZE, 3), 90, np.uint8)
    image[:, :8, :8] = 255
    changed = parts.erased(0, image, REGIONS[:1])

    assert (changed == 90).all()


def test_a_cell_inside_the_region_is_not_there() -> None:
    there = parts.present(REGIONS)

    assert there.shape == (COUNT, len(NAMES))
    assert not there[:, NAMES.index("2,2")].any()
    assert there[:, NAMES.index("0,0")].all()
    assert there[:, -3:].all()


def test_regions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RegionShapeError, match="expected boolean"):
        parts.exchanged(0, IMAGES, REGIONS[:, :-1], DONORS, REGIONS)
    with pytest.raises(EmptyRegionError, match="every pixel"):
        parts.erased(0, IMAGES, np.ones_like(REGIONS))
