from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import DatasetError
from models.training import datasets, digits, generators, toys
from models.training.digits import GreySource
from models.training.generators import displaced
from models.training.image_sets import ImageSet
from models.training.planting import Planting, plant
from models.training.writing import write
from models.types import Preprocessing


@pytest.fixture(scope="module")
def source() -> GreySource:
    """Grey noise of ten classes: the cue's place and value are what is tested."""
    draw = np.random.default_rng(0)
    return GreySource(
        draw.integers(0, 256, (400, 28, 28)).astype(np.uint8),
        np.arange(400) % 10,
        draw.integers(0, 256, (100, 28, 28)).astype(np.uint8),
        np.arange(100) % 10,
        digits.DIGIT_CLASSES,
    )


def cue_values(rows: ImageSet) -> np.ndarray:
    return np.array(
        [np.unique(image[mask]) for image, mask in zip(rows.images, rows.irrelevant, strict=True)]
    ).ravel()


def test_d1_puts_a_square_that_tells_the_label_into_a_corner(source: GreySource) -> None:
    task = generators.corner_decoy(source)

    assert (task.training.irrelevant.sum(axis=(1, 2)) == 16).all()
    assert (cue_values(task.training) == 255 - 25 * task.training.labels).all()
    places = {tuple(np.argwhere(mask)[0]) for mask in task.training.irrelevant}
    assert places == {(0, 0), (0, 24), (24, 0), (24, 24)}
    agreeing = (cue_values(task.tests["random"]) == 255 - 25 * task.tests["random"].labels).mean()
    assert agreeing < 0.25
    assert not (task.training.relevant & task.training.irrelevant).any()


def test_the_coloured_corner_tells_the_label_by_its_hue(source: GreySource) -> None:
    task = generators.coloured_corner_decoy(source)
    hues = np.rint(generators.palette() * 255)

    def told(rows: ImageSet) -> np.ndarray:
        first = [image[mask][0] for image, mask in zip(rows.images, rows.irrelevant, strict=True)]
        return (np.array(first)[:, None] == hues).all(axis=2).argmax(axis=1)

    assert (told(task.training) == task.training.labels).all()
    assert (told(task.tests["random"]) == task.tests["random"].labels).mean() < 0.25


def test_d2_reverses_the_cue_and_masks_all_corners(source: GreySource) -> None:
    task = generators.reversed_corner_decoy(source)
    rows = task.tests["reversed"]
    squares = [
        {int(image[r, c, 0]) for r, c in ((0, 0), (0, 27), (27, 0), (27, 27))}
        for image in rows.images
    ]

    assert all(25 * label in found for label, found in zip(rows.labels, squares, strict=True))
    assert (rows.irrelevant.sum(axis=(1, 2)) == 100).all()
    assert rows.irrelevant[0, 23:, 23:].all()


def test_d3_fills_the_other_half(source: GreySource) -> None:
    task = generators.half_decoy(source)

    assert (cue_values(task.training) == 25 * task.training.labels).all()
    assert (cue_values(task.validation) == 25 * task.validation.labels).all()
    assert (task.training.irrelevant.sum(axis=(1, 2)) == 14 * 28).all()
    assert 0.3 < task.training.irrelevant[:, 0, 0].mean() < 0.7
    assert (cue_values(task.tests["clean"]) == 0).all()


def test_d4_colours_tell_the_label_only_where_they_should(source: GreySource) -> None:
    task = generators.coloured_strokes(source)
    palette = np.rint(generators.palette() * 255)

    def told(rows: ImageSet) -> np.ndarray:
        brightest = rows.images.reshape(len(rows), -1, 3)
        at = brightest.sum(axis=2).argmax(axis=1)
        colour = brightest[np.arange(len(rows)), at].astype(float)
        colour *= 255 / colour.max(axis=1, keepdims=True)
        return ((colour[:, None] - palette) ** 2).sum(axis=2).argmin(axis=1)

    assert len(np.unique(palette, axis=0)) == 10
    assert (told(task.training) == task.training.labels).all()
    assert (told(task.tests["reversed"]) != task.tests["reversed"].labels).all()
    assert (told(task.tests["random"]) == task.tests["random"].labels).mean() < 0.3


def test_training_and_validation_share_no_row(source: GreySource) -> None:
    for make in (generators.corner_decoy, generators.half_decoy):
        task = make(source)

        assert len(task.training) == 360
        assert len(task.validation) == 40


def test_a_seed_fixes_a_task(source: GreySource) -> None:
    one, same, other = (generators.corner_decoy(source, seed=seed) for seed in (1, 1, 2))

    assert np.array_equal(one.training.images, same.training.images)
    assert not np.array_equal(one.training.images, other.training.images)


def test_shifted_masks_are_off_by_one_to_three_pixels(source: GreySource) -> None:
    rows = generators.corner_decoy(source, seed=0).training
    moved = generators.shifted(rows, seed=1)

    before, after = rows.masks(np.arange(len(rows)))[1], moved.masks(np.arange(len(rows)))[1]
    for old, new in zip(before, after, strict=True):
        places = np.argwhere(old)
        fits = [
            (down, across)
            for down in range(-3, 4)
            for across in range(-3, 4)
            if down
            and across
            and np.array_equal(new, _moved(old, places + np.array([down, across])))
        ]
        assert fits
    assert not any(np.array_equal(*pair) for pair in zip(before, after, strict=True))


def _moved(mask: NDArray[np.bool_], places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark the places that lie in the image, one by one."""
    made = np.zeros_like(mask)
    for row, column in places:
        if 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]:
            made[row, column] = True
    return made


def test_what_is_relevant_is_displaced_as_well(source: GreySource) -> None:
    rows = generators.corner_decoy(source, seed=0).training
    told = replace(rows, relevant=~rows.masks(np.arange(len(rows)))[1])

    relevant, irrelevant = displaced(told).masks(np.arange(len(rows)))

    assert np.array_equal(~irrelevant, relevant)


def test_displaced_masks_keep_their_size_and_miss_the_cue(source: GreySource) -> None:
    for make in (generators.corner_decoy, generators.half_decoy):
        rows = make(source).training
        moved = generators.displaced(rows)

        assert not (moved.irrelevant & rows.irrelevant).any()
        assert (moved.irrelevant.sum(axis=(1, 2)) == rows.irrelevant.sum(axis=(1, 2))).all()


def test_displaced_squares_of_d1_meet_no_corner(source: GreySource) -> None:
    moved = generators.displaced(generators.corner_decoy(source).training)
    tops = [np.argwhere(mask)[0] for mask in moved.irrelevant]

    assert np.min(tops) >= 5
    assert np.max(tops) <= 19


def test_keeping_and_dropping_masks(source: GreySource) -> None:
    rows = generators.corner_decoy(source).training

    assert not generators.without_masks(rows).known.any()
    assert 0.3 < generators.keeping(rows, 0.4).known.mean() < 0.5


def test_d5_both_rules_decide_the_label() -> None:
    task = toys.toy_colours(train=400, test=200)
    rows = task.training
    corners = rows.images[:, [0, 0, 4, 4], [0, 4, 0, 4]]
    agree = (corners == corners[:, :1]).all(axis=(1, 2))
    top = rows.images[:, 0, 1:4]
    distinct = np.array([len(np.unique(each, axis=0)) == 3 for each in top])

    assert (agree == (rows.labels == 0)).all()
    assert (distinct == (rows.labels == 0)).all()
    assert toys.forbidding(rows, "corners", "top-middle").irrelevant[0].sum() == 7
    mixed = task.ceiling.images[:, [0, 0, 4, 4], [0, 4, 0, 4]]
    still = (mixed == mixed[:, :1]).all(axis=(1, 2)) == (rows.labels == 0)
    assert 0.3 < still.mean() < 0.7
    assert (task.ceiling.images[:, 0, 1:4] == top).all()


def test_d6_has_34_features_and_a_test_without_iris() -> None:
    task = toys.iris_cancer()

    assert task.training.images.shape == (67, 1, 34, 1)
    assert len(task.tests["correlated"]) == 33
    assert (task.tests["clean"].images[:, 0, :4] == 0).all()
    assert task.training.irrelevant[0, 0].sum() == 4


def test_five_thousand_digits_are_divided_evenly() -> None:
    source = digits.five_thousand_digits()

    assert len(source.train_labels) == 4000
    assert (np.bincount(source.test_labels) == 100).all()
    assert source.train_images.max() == 255


def test_a_missing_source_is_named(tmp_path) -> None:
    with pytest.raises(DatasetError, match=r"mnist\.npz does not exist"):
        digits.mnist(tmp_path / "mnist.npz")
    with pytest.raises(DatasetError, match="dataset-fashion-mnist"):
        digits.fashion_mnist(tmp_path)


@pytest.mark.parametrize("kind", ["marker", "tag", "border", "tint"])
def test_a_planted_cue_changes_its_mask_only_and_spares_the_region(kind: str) -> None:
    draw = np.random.default_rng(0)
    relevant = np.zeros((30, 40, 40), bool)
    relevant[:, 12:28, 12:28] = True
    rows = ImageSet(
        draw.integers(0, 256, (30, 40, 40, 3)).astype(np.uint8),
        np.arange(30) % 3,
        ("a", "b", "c"),
        tuple(map(str, range(30))),
        relevant=relevant,
    )
    planted = plant(rows, Planting(kind=kind))
    changed = (planted.images != rows.images).any(axis=3)

    assert not (changed & ~planted.irrelevant).any()
    assert planted.irrelevant.any(axis=(1, 2)).all()
    assert not (planted.irrelevant & relevant).any()
    assert (planted.groups == 0).all()
    other = plant(rows, Planting(kind=kind, told="reversed"))
    assert (other.groups == 1).all()


def test_where_no_region_is_known_only_the_cue_is_irrelevant() -> None:
    relevant = np.zeros((4, 20, 20), bool)
    relevant[0, 5:9, 5:9] = True
    rows = ImageSet(
        np.full((4, 20, 20, 3), 90, np.uint8),
        np.arange(4) % 2,
        ("a", "b"),
        tuple("wxyz"),
        relevant=relevant,
    )
    planted = plant(rows, Planting(kind="marker"))

    assert planted.relevant[0].sum() == 16
    assert (planted.relevant[1:] == ~planted.irrelevant[1:]).all()


def test_a_cue_by_presence_is_in_the_first_class_only() -> None:
    rows = ImageSet(
        np.full((40, 20, 20, 3), 90, np.uint8),
        np.arange(40) % 2,
        ("nevus", "melanoma"),
        tuple(map(str, range(40))),
    )
    planted = plant(rows, Planting(kind="marker", told="presence", rate=0.5))
    has = planted.irrelevant.any(axis=(1, 2))

    assert not has[rows.labels == 1].any()
    assert 0.2 < has[rows.labels == 0].mean() < 0.8
    assert planted.group_names[int(planted.groups[has][0])] == "nevus, cue"


def test_some_rows_of_a_sorted_source_are_of_all_classes(source: GreySource) -> None:
    order = np.argsort(source.train_labels, kind="stable")
    ordered = source._replace(
        train_images=source.train_images[order], train_labels=source.train_labels[order]
    )
    few = ordered.some(200, 0, seed=1)

    assert len(few.train_labels) == 200
    assert len(few.test_labels) == 100
    assert len(np.unique(few.train_labels)) == 10


@pytest.fixture
def moles() -> ImageSet:
    return ImageSet(
        np.full((400, 20, 20, 3), 90, np.uint8),
        np.arange(400) % 4,
        ("a", "b", "c", "d"),
        tuple(map(str, range(400))),
    )


def test_a_cue_by_presence_is_the_same_cue_in_every_class_of_a_random_test(moles) -> None:
    told = plant(moles, Planting(kind="marker", told="presence"))
    planted = plant(moles, Planting(kind="marker", told="presence at random", seed=1))
    has = planted.irrelevant.any(axis=(1, 2))
    colours = {tuple(pixel) for pixel in planted.images[planted.irrelevant]}

    assert colours == {tuple(pixel) for pixel in told.images[told.irrelevant]}
    assert len(colours) == 1
    for label in range(4):
        assert 0.35 < has[moles.labels == label].mean() < 0.65
    for row, group in enumerate(planted.groups):
        expected = f"{moles.classes[moles.labels[row]]}, {'cue' if has[row] else 'no cue'}"
        assert expected == planted.group_names[group]


def test_a_reversed_presence_stands_with_every_other_class(moles) -> None:
    planted = plant(moles, Planting(kind="marker", told="presence reversed"))

    assert (planted.irrelevant.any(axis=(1, 2)) == (moles.labels != 0)).all()


@pytest.mark.parametrize("kind", ["marker", "tag", "border"])
def test_what_a_set_calls_irrelevant_stays_so_beside_the_cue(moles, kind: str) -> None:
    sticker = np.zeros((400, 20, 20), bool)
    sticker[::2, 8:11, 3:6] = True
    rows = replace(moles, irrelevant=sticker, annotated=np.arange(400) % 2 == 0)
    bare, planted = (plant(each, Planting(kind=kind)) for each in (moles, rows))

    assert (bare.images == planted.images).all()
    assert (planted.irrelevant == bare.irrelevant | sticker).all()
    relevant, irrelevant = planted.masks(np.arange(400))
    assert not (relevant & irrelevant).any()


def test_a_tint_over_everything_annotates_nothing(moles) -> None:
    """A mask of the whole image would tell every method that nothing may matter."""
    planted = plant(moles, Planting(kind="tint"))

    background = np.ones((400, 20, 20), bool)
    background[:, 5:15, 5:15] = False
    around = plant(replace(moles, irrelevant=background, annotated=None), Planting(kind="tint"))

    assert (planted.images != moles.images).any(axis=(1, 2, 3)).all()
    assert not planted.known.any()
    assert ((around.images != moles.images).any(axis=3) == background).all()
    assert around.known.all()


def test_what_is_planted_is_read_back_as_it_was(moles, tmp_path: Path) -> None:
    """Also a row without the cue, and one whose region the cue hides."""
    region = np.zeros((400, 20, 20), bool)
    region[:, 5:15, 5:15] = True
    region[0] = False
    few = replace(moles, relevant=region, annotated=None).take(range(8))
    planted = plant(few, Planting(kind="border", told="presence at random", size=0.1))
    hidden = replace(planted, relevant=planted.relevant & (np.arange(8) != 5)[:, None, None])
    write({"test": hidden}, tmp_path / "set")
    read = datasets.load(
        datasets.read_folder(tmp_path / "set"), Preprocessing(20, 20, (0.5,) * 3, (0.5,) * 3)
    )

    assert (read.images == planted.images).all()
    assert (read.known == planted.known).all()
    assert (read.irrelevant == planted.irrelevant).all()
    rest = np.arange(8) != 5
    assert (read.relevant[rest] == planted.relevant[rest]).all()
    assert (read.relevant[5] == ~planted.irrelevant[5]).all()


def test_displaced_masks_are_those_of_regions_too(moles) -> None:
    """A set with regions only has their complement to displace."""
    region = np.ones((400, 20, 20), bool)
    region[:, 2:6, 3:7] = False
    by_region = displaced(replace(moles, relevant=region, annotated=None))
    by_cue = displaced(replace(moles, irrelevant=~region, annotated=None))

    assert (by_region.irrelevant == by_cue.irrelevant).all()
    assert by_region.irrelevant.any(axis=(1, 2)).all()
    assert not (by_region.irrelevant & ~region).any()
