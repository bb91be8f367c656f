"""Localisation measures against loops written as the definitions read."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from audit import localisation
from audit.errors import EmptyRegionError, HeatmapError, RegionError, RegionShapeError

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
UNIT = st.floats(0, 1, width=32)


@st.composite
def pairs(draw: st.DrawFn, cells: st.SearchStrategy[float] = UNIT) -> tuple:
    """A heatmap in [0, 1] and a region that marks something, on one grid."""
    shape = draw(SHAPES)
    heatmap = draw(arrays.arrays(np.float32, shape, elements=UNIT))
    region = draw(arrays.arrays(np.float32, shape, elements=cells))
    region[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = 1.0
    return heatmap, region


BOOLEAN = st.sampled_from([0.0, 1.0])


@given(pairs())
def test_activation_recall_agrees_with_a_loop(pair) -> None:
    heatmap, region = pair
    inside = covered = 0.0
    for row, column in np.ndindex(*heatmap.shape):
        inside += float(heatmap[row, column]) * float(region[row, column])
        covered += float(region[row, column])

    assert inside / covered == pytest.approx(localisation.activation_recall(heatmap, region))


@given(pairs(BOOLEAN), st.floats(0.01, 1.0))
def test_thresholded_recall_is_the_share_of_active_region_cells(pair, threshold) -> None:
    heatmap, region = pair
    cells = np.argwhere(region > 0)
    hits = sum(float(heatmap[row, column]) >= threshold for row, column in cells)

    assert hits / len(cells) == pytest.approx(
        localisation.thresholded_recall(heatmap, region > 0, threshold=threshold)
    )


@given(pairs(BOOLEAN), st.floats(0.01, 1.0))
def test_precision_and_iou_agree_with_sets_of_cells(pair, threshold) -> None:
    heatmap, region = pair
    active = {tuple(cell) for cell in np.argwhere(heatmap.astype(np.float64) >= threshold)}
    inside = {tuple(cell) for cell in np.argwhere(region > 0)}
    measured = localisation.measure(heatmap, region, threshold=threshold)

    assert len(active & inside) / len(active | inside) == pytest.approx(measured.iou)
    if active and not measured.silent:
        assert len(active & inside) / len(active) == pytest.approx(measured.activation_precision)
    else:
        assert measured.activation_precision == 0.0


@given(pairs())
def test_relevance_mass_agrees_with_a_loop(pair) -> None:
    heatmap, region = pair
    inside = total = 0.0
    for row, column in np.ndindex(*heatmap.shape):
        inside += float(heatmap[row, column]) * float(region[row, column])
        total += float(heatmap[row, column])
    expected = inside / total if total >= localisation.SILENT else 0.0

    assert expected == pytest.approx(localisation.relevance_mass(heatmap, region))


@given(pairs(BOOLEAN))
def test_pointing_needs_every_maximum_inside(pair) -> None:
    heatmap, region = pair
    peaks = [cell for cell in np.ndindex(*heatmap.shape) if heatmap[cell] == heatmap.max()]
    expected = heatmap.sum() >= localisation.SILENT and all(region[cell] > 0 for cell in peaks)

    assert expected == localisation.pointing_game(heatmap, region > 0)


@given(pairs())
def test_entropy_agrees_with_a_loop(pair) -> None:
    heatmap, _ = pair
    total = math.fsum(float(value) for value in heatmap.flat)
    if total < localisation.SILENT or heatmap.size == 1:
        expected = 1.0
    else:
        shares = [float(value) / total for value in heatmap.flat if value > 0]
        expected = -math.fsum(share * math.log(share) for share in shares if share > 0)
        expected /= math.log(heatmap.size)

    assert expected == pytest.approx(localisation.heatmap_entropy(heatmap), abs=1e-9)


@given(pairs(), st.floats(0.01, 1.0))
def test_the_bundle_holds_what_the_functions_return(pair, threshold) -> None:
    heatmap, region = pair
    bundle = localisation.measure(heatmap, region, threshold=threshold)

    assert localisation.activation_recall(heatmap, region) == bundle.activation_recall
    assert localisation.relevance_mass(heatmap, region) == bundle.relevance_mass
    assert localisation.pointing_game(heatmap, region) == bundle.pointing
    assert localisation.heatmap_entropy(heatmap) == bundle.entropy
    assert localisation.iou(heatmap, region, threshold=threshold) == bundle.iou
    assert (
        localisation.thresholded_recall(heatmap, region, threshold=threshold)
        == bundle.thresholded_recall
    )
    assert (
        localisation.activation_precision(heatmap, region, threshold=threshold)
        == bundle.activation_precision
    )
    assert 1.0 - bundle.relevance_mass == bundle.outside
    assert bundle.relevance_mass / bundle.area == bundle.mass_ratio


@given(pairs())
def test_every_measure_lies_in_the_unit_interval(pair) -> None:
    bundle = localisation.measure(*pair)

    for name in bundle.__slots__:
        assert 0.0 <= float(getattr(bundle, name)) <= 1.0, name


@given(pairs(), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_recall_never_rises_with_the_threshold(pair, first, second) -> None:
    low, high = sorted((first, second))

    assert localisation.thresholded_recall(
        *pair, threshold=low
    ) >= localisation.thresholded_recall(*pair, threshold=high)


@given(pairs(), st.floats(0.01, 1.0))
def test_flipping_heatmap_and_region_together_changes_nothing(pair, threshold) -> None:
    heatmap, region = pair
    upright = localisation.measure(heatmap, region, threshold=threshold)
    flipped = localisation.measure(heatmap[::-1, ::-1], region[::-1, ::-1], threshold=threshold)

    for name in upright.__slots__:
        assert getattr(upright, name) == pytest.approx(getattr(flipped, name)), name


@given(pairs(), st.floats(0.0625, 1.0))
def test_mass_and_pointing_ignore_the_scale_of_the_heatmap(pair, factor) -> None:
    heatmap, region = (each.astype(np.float64) for each in pair)
    if heatmap.sum() * factor < 1e-3:
        return

    assert localisation.relevance_mass(heatmap, region) == pytest.approx(
        localisation.relevance_mass(heatmap * factor, region)
    )
    assert localisation.activation_recall(heatmap, region) * factor == pytest.approx(
        localisation.activation_recall(heatmap * factor, region)
    )


def test_a_uniform_heatmap_shows_why_recall_needs_its_chance_level() -> None:
    region = np.zeros((7, 7), bool)
    region[2:5, 2:5] = True
    measured = localisation.measure(np.ones((7, 7)), region)

    assert measured.activation_recall == 1.0
    assert measured.recall_chance == 1.0
    assert measured.relevance_mass == pytest.approx(measured.area)
    assert measured.mass_ratio == pytest.approx(1.0)
    assert measured.entropy == pytest.approx(1.0)
    assert not measured.pointing


def test_chance_levels_are_the_averages_over_random_placements() -> None:
    """Every cyclic shift of the region once: the mean over them is the chance level, exactly."""
    rng = np.random.default_rng(4)
    heatmap = rng.random((6, 6)) ** 3
    heatmap /= heatmap.max()
    region = np.zeros((6, 6), bool)
    region[1:4, 2:4] = True
    everywhere = [
        localisation.measure(heatmap, np.roll(region, shift, (0, 1))) for shift in np.ndindex(6, 6)
    ]

    assert np.mean([each.activation_recall for each in everywhere]) == pytest.approx(
        everywhere[0].recall_chance
    )
    assert np.mean([each.relevance_mass for each in everywhere]) == pytest.approx(
        everywhere[0].area
    )
    assert np.mean([each.activation_precision for each in everywhere]) == pytest.approx(
        everywhere[0].area
    )


def test_a_silent_heatmap_is_an_answer_not_an_error() -> None:
    measured = localisation.measure(np.zeros((7, 7)), np.ones((7, 7), bool))

    assert measured.silent
    assert (0.0, 0.0, 0.0, 1.0) == (
        measured.activation_recall,
        measured.relevance_mass,
        measured.iou,
        measured.entropy,
    )
    assert not measured.pointing


@pytest.mark.parametrize(
    ("heatmap", "region", "error"),
    [
        (np.zeros((7, 7)), np.zeros((7, 7), bool), EmptyRegionError),
        (np.zeros((7, 7)), np.ones((14, 14), bool), RegionShapeError),
        (np.zeros((7, 7)), np.full((7, 7), 255.0), RegionError),
        (np.zeros((7, 7)), np.full((7, 7), np.nan), RegionError),
        (np.full((7, 7), 255.0), np.ones((7, 7), bool), HeatmapError),
        (np.full((7, 7), -0.5), np.ones((7, 7), bool), HeatmapError),
        (np.full((7, 7), np.nan), np.ones((7, 7), bool), HeatmapError),
        (np.zeros((1, 7, 7)), np.ones((1, 7, 7), bool), HeatmapError),
        (np.zeros((0, 7)), np.ones((0, 7), bool), HeatmapError),
    ],
)
def test_what_cannot_be_measured_is_refused(heatmap, region, error) -> None:
    with pytest.raises(error):
        localisation.measure(heatmap, region)


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, math.nan])
def test_a_threshold_outside_the_scale_is_refused(threshold) -> None:
    with pytest.raises(ValueError, match="threshold"):
        localisation.measure(np.ones((2, 2)), np.ones((2, 2), bool), threshold=threshold)


def test_rounding_in_float32_is_not_refused() -> None:
    heatmap = np.full((7, 7), np.float32(1.0) + np.float32(1.2e-7))

    assert localisation.activation_recall(heatmap, np.full((7, 7), np.float32(1 / 3))) == 1.0
