"""Probe images against loops over pixels; what is relevant is never touched."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import EmptyRegionError, ProbeError, RegionShapeError
from audit.reliance import probes


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, regions that leave something on both sides, and donors."""
    count = draw(st.integers(1, 3))
    height, width = draw(st.tuples(st.integers(2, 9), st.integers(2, 9)))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    images = rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    regions = rng.random((count, height, width)) < 0.4
    regions[:, 0, 0], regions[:, -1, -1] = True, False
    return images, regions, rng.integers(0, 256, images.shape, dtype=np.uint8)


def every_probe(images, regions, donors) -> dict[str, np.ndarray]:
    return {
        "mean": probes.fill(images, regions, "mean"),
        "zero": probes.fill(images, regions, "zero"),
        "noise": probes.fill(images, regions, "noise", seed=3),
        "blur": probes.blur(images, regions, radius=2),
        "swap": probes.swap(images, regions, donors),
        "clean swap": probes.swap(images, regions, donors, regions),
    }


@settings(deadline=None)
@given(batches())
def test_the_relevant_part_is_never_touched_and_the_inputs_never_changed(batch) -> None:
    images, regions, donors = batch
    kept = images.copy(), regions.copy(), donors.copy()
    for name, probe in every_probe(*batch).items():
        assert (probe[regions] == images[regions]).all(), name
        assert probe.dtype == np.uint8
        assert probe.shape == images.shape
    assert all((a == b).all() for a, b in zip(kept, batch, strict=True))


@settings(deadline=None)
@given(batches())
def test_fills_agree_with_a_loop(batch) -> None:
    images, regions, _ = batch
    mean, zero = probes.fill(images, regions, "mean"), probes.fill(images, regions, "zero")
    outside = [cell for cell in np.ndindex(*regions.shape) if not regions[cell]]
    expected = np.rint(np.mean([images[cell] for cell in outside], axis=0))
    chosen = probes.fill(images, regions, colour=(1, 2, 3))
    for cell in outside:
        assert (mean[cell] == expected).all()
        assert (zero[cell] == 0).all()
        assert (chosen[cell] == (1, 2, 3)).all()


@settings(deadline=None)
@given(batches())
def test_a_swap_takes_the_donor_outside_and_leaves_its_relevant_part_behind(batch) -> None:
    images, regions, donors = batch
    donor_regions = regions[:, ::-1, ::-1].copy()
    plain = probes.swap(images, regions, donors)
    clean = probes.swap(images, regions, donors, donor_regions)
    colours = [
        np.rint(donor[~region].mean(axis=0))
        for donor, region in zip(donors, donor_regions, strict=True)
    ]
    for n, row, column in np.argwhere(~regions):
        assert (plain[n, row, column] == donors[n, row, column]).all()
        expected = colours[n] if donor_regions[n, row, column] else donors[n, row, column]
        assert (clean[n, row, column] == expected).all()


def test_one_box_agrees_with_a_loop() -> None:
    values = np.random.default_rng(0).random((2, 6, 7, 3)).astype(np.float32)
    boxed = probes._box(values, 2)
    for row, column in np.ndindex(6, 7):
        window = values[:, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]

        assert window.mean(axis=(1, 2)) == pytest.approx(boxed[:, row, column], abs=1e-5)


def test_nothing_of_the_region_leaks_into_the_blur() -> None:
    images = np.full((1, 40, 40, 3), 80, np.uint8)
    regions = np.zeros((1, 40, 40), bool)
    regions[0, 15:25, 15:25] = True
    images[regions] = 255

    assert (probes.blur(images, regions)[~regions] == 80).all()


def test_a_blur_removes_a_small_cue() -> None:
    images = np.full((1, 64, 64, 3), 100, np.uint8)
    regions = np.zeros((1, 64, 64), bool)
    regions[0, 30:50, 30:50] = True
    images[0, :6, :6] = 255
    blurred = probes.blur(images, regions)

    assert blurred[~regions].max() < 150


def test_noise_is_seeded() -> None:
    images, regions = np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8), bool)
    regions[0, 0, 0] = True
    once, again, other = (probes.fill(images, regions, "noise", seed=seed) for seed in (1, 1, 2))

    assert (once == again).all()
    assert (once != other).any()


IMAGES = np.zeros((2, 4, 4, 3), np.uint8)
PART = np.zeros((2, 4, 4), bool)
PART[:, 1, 1] = True


@pytest.mark.parametrize(
    ("images", "regions", "error"),
    [
        (IMAGES.astype(np.float32), PART, ProbeError),
        (IMAGES[..., :1], PART, ProbeError),
        (IMAGES[0], PART[0], ProbeError),
        (IMAGES, PART[:, :3], RegionShapeError),
        (IMAGES, PART.astype(np.uint8), RegionShapeError),
        (IMAGES, np.zeros((2, 4, 4), bool), EmptyRegionError),
        (IMAGES, np.ones((2, 4, 4), bool), EmptyRegionError),
    ],
)
def test_what_cannot_be_probed_is_refused(images, regions, error) -> None:
    for make in (probes.fill, probes.blur):
        with pytest.raises(error):
            make(images, regions)
    with pytest.raises(error):
        probes.swap(images, regions, images)


def test_donors_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RegionShapeError, match="donors"):
        probes.swap(IMAGES, PART, IMAGES[:1])
    with pytest.raises(ProbeError, match="radius"):
        probes.blur(IMAGES, PART, radius=0)
