"""Probing against fakes whose reliance is known exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import ProbeError
from audit.reliance.effects import effects
from audit.reliance.probing import any_other, choose_donors, probe

SIZE = 16
REGION = np.zeros((SIZE, SIZE), bool)
REGION[4:12, 4:12] = True


def scene(label: int, cue: int) -> np.ndarray:
    """An object whose brightness tells the label, and a corner whose brightness is a cue."""
    image = np.full((SIZE, SIZE, 3), 128, np.uint8)
    image[REGION] = 230 if label else 20
    image[:3, :3] = 255 if cue else 0
    return image


def scenes(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    images = np.stack([scene(n % 2, n % 2) for n in range(count)])
    return images, np.broadcast_to(REGION, (count, SIZE, SIZE)).copy()


def answers(bright: np.ndarray) -> np.ndarray:
    one = np.where(bright, 0.9, 0.1)
    return np.stack([1 - one, one], axis=1)


def reads_the_object(images: np.ndarray) -> np.ndarray:
    return answers(images[:, REGION].mean(axis=(1, 2)) > 128)


def reads_the_corner(images: np.ndarray) -> np.ndarray:
    return answers(images[:, :3, :3].mean(axis=(1, 2, 3)) > 128.5)


def test_a_classifier_of_the_object_does_not_move() -> None:
    probed = probe(reads_the_object, *scenes())

    for each in probed.effects:
        assert not any(effect.flip for effect in each)
        assert {0.0} == {effect.probability_shift for effect in each}
    assert 0.0 == probed.flip_share(3)


def test_a_classifier_of_the_corner_follows_every_swap() -> None:
    probed = probe(reads_the_corner, *scenes())
    fill, blur, swap = probed.effects

    assert all(each.flip and each.directed_flip for each in swap)
    assert [0.8] * 40 == pytest.approx([each.probability_shift for each in swap])
    assert 20 == sum(each.flip for each in fill)  # without the cue it says "dark"
    assert {None} == {each.directed_flip for each in fill}
    assert ["fill", "blur", "swap"] == [each[0].intervention for each in (fill, blur, swap)]


def test_a_pool_lends_what_its_images_suggest() -> None:
    images, regions = scenes()
    pool = np.stack([scene(0, 1)] * 3)
    probed = probe(reads_the_corner, images, regions, pool=pool, pool_regions=regions[:3], seed=1)
    followed = [each.directed_flip for each in probed.effects[2]]

    assert [True, None] * 20 == followed


def test_the_predictor_is_asked_once_per_kind_of_image() -> None:
    asked = []

    def counting(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        return reads_the_corner(images)

    probe(counting, *scenes(10), most=0)

    assert [10, 10, 10, 10] == asked


def test_the_same_seed_gives_the_same_probe() -> None:
    assert probe(reads_the_corner, *scenes(), seed=5) == probe(reads_the_corner, *scenes(), seed=5)


@given(st.lists(st.integers(0, 2), min_size=2, max_size=12), st.booleans(), st.integers(0, 99))
def test_donors_are_others_and_of_another_class_where_there_is_one(decided, own, seed) -> None:
    labels = np.array(decided)
    chosen = choose_donors(labels, labels, own=own, seed=seed)
    for image, donor in enumerate(chosen):
        if own:
            assert donor != image
        if (labels != labels[image]).any():
            assert labels[donor] != labels[image]


def test_any_other_is_every_other_one_about_as_often() -> None:
    drawn = np.array([any_other(4, seed=seed) for seed in range(900)])
    for image in range(4):
        counts = np.bincount(drawn[:, image], minlength=4)

        assert counts[image] == 0
        assert all(240 < counts[other] < 360 for other in range(4) if other != image)


def test_nobody_to_lend_is_refused() -> None:
    with pytest.raises(ProbeError, match="another image"):
        probe(reads_the_object, *scenes(1))
    with pytest.raises(ProbeError, match="another image"):
        any_other(1, seed=0)
    with pytest.raises(ProbeError, match="pool"):
        probe(reads_the_object, *scenes(4), pool=scenes(4)[0])


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20),
    st.lists(st.sampled_from([None, 0, 1]), min_size=20, max_size=20),
)
def test_effects_agree_with_a_loop(pairs, targets) -> None:
    before = np.array([[1 - first, first] for first, _ in pairs])
    after = np.array([[1 - second, second] for _, second in pairs])
    seen = effects("swap", before, after, targets[: len(pairs)])
    for effect, old, new, target in zip(seen, before, after, targets, strict=False):
        was, now = (0 if row[0] >= row[1] else 1 for row in (old, new))

        assert (was != now) == effect.flip
        assert old[was] - new[was] == pytest.approx(effect.probability_shift)
        assert (None if target in (None, was) else now == target) == effect.directed_flip


@pytest.mark.parametrize(
    ("before", "after", "implied"),
    [
        (np.ones((2, 2)) / 2, np.ones((3, 2)) / 2, None),
        (np.ones((0, 2)), np.ones((0, 2)), None),
        (np.full((1, 2), 2.0), np.ones((1, 2)) / 2, None),
        (np.full((1, 2), np.nan), np.ones((1, 2)) / 2, None),
        (np.ones((2, 2)) / 2, np.ones((2, 2)) / 2, [1]),
    ],
)
def test_answers_that_cannot_be_compared_are_refused(before, after, implied) -> None:
    with pytest.raises(ProbeError):
        effects("fill", before, after, implied)
