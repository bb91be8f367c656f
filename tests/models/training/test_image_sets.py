from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import DatasetError
from models.training.batches import batch_of, batches, epoch_order
from models.training.image_sets import ImageSet, join, refuse_leakage, split


def rows(count: int, *, subjects: list[str] | None = None, **given_masks: object) -> ImageSet:
    draw = np.random.default_rng(0)
    return ImageSet(
        images=draw.integers(0, 256, (count, 4, 5, 3)).astype(np.uint8),
        labels=np.arange(count) % 2,
        classes=("a", "b"),
        ids=tuple(f"row {each}" for each in range(count)),
        subjects=None if subjects is None else tuple(subjects),
        **given_masks,
    )


@given(st.lists(st.integers(0, 9), min_size=5, max_size=60), st.integers(0, 5))
def test_a_split_keeps_subjects_together_and_loses_no_row(people: list[int], seed: int) -> None:
    whole = rows(len(people), subjects=[f"p{each}" for each in people])
    made = split(whole, {"train": 0.6, "test": 0.4}, seed=seed)

    refuse_leakage(made)
    names = [name for each in made.values() for name in each.ids]

    assert sorted(names) == sorted(whole.ids)


def test_a_split_follows_the_shares_within_each_class() -> None:
    made = split(rows(100), {"train": 0.8, "val": 0.1, "test": 0.1}, seed=3)

    assert [len(each) for each in made.values()] == [80, 10, 10]
    assert all(each.labels.mean() == 0.5 for each in made.values())


def test_leakage_of_a_subject_is_refused_by_name() -> None:
    one, other = rows(2, subjects=["p1", "p2"]), rows(2, subjects=["p3", "p1"])

    with pytest.raises(
        DatasetError, match=r"row row 1 of test and row row 0 of train.*subject p1"
    ):
        refuse_leakage({"train": one.take([0]), "test": other.take([1])})


def test_leakage_of_an_image_is_refused() -> None:
    with pytest.raises(DatasetError, match="same image"):
        refuse_leakage({"train": rows(2), "test": rows(2)})


def test_a_missing_mask_is_the_complement_of_the_other() -> None:
    relevant = np.zeros((2, 4, 5), bool)
    relevant[0, :2] = True
    made = rows(2, relevant=relevant)
    batch = batch_of(made, np.array([0, 1]))

    assert batch.annotated.tolist() == [True, False]
    assert (batch.irrelevant[0] == ~batch.relevant[0]).all()
    assert not batch.irrelevant[1].any()


def test_without_masks_no_row_is_annotated() -> None:
    batch = batch_of(rows(3), np.array([2, 0]))

    assert not batch.annotated.any()
    assert batch.relevant.shape == (2, 4, 5)
    assert batch.labels.tolist() == [0, 0]
    assert batch.images.max() <= 1


def test_batches_cover_the_rows_in_order() -> None:
    seen = [row for batch in batches(rows(7), 3) for row in batch.rows.tolist()]

    assert seen == list(range(7))
    assert sorted(epoch_order(7, seed=1, epoch=2)) == list(range(7))
    assert not np.array_equal(epoch_order(50, seed=1, epoch=2), epoch_order(50, seed=1, epoch=3))


def test_join_keeps_rows_and_masks() -> None:
    relevant = np.ones((2, 4, 5), bool)
    both = join([rows(2, relevant=relevant), rows(3)])

    assert len(both) == 5
    assert both.known.tolist() == [True, True, False, False, False]


def names_of(made: ImageSet) -> list[str]:
    """What each row's group is called, by the set itself."""
    return [
        made.classes[label] if made.groups is None else made.group_names[made.groups[row]]
        for row, label in enumerate(made.labels)
    ]


def test_join_keeps_every_row_in_the_group_that_its_own_set_named() -> None:
    one = rows(3, groups=np.array([1, 0, 1]), group_names=("left", "right"))
    other = rows(3, groups=np.array([0, 2, 1]), group_names=("right", "above", "left"))
    none = rows(3)
    for sets in ([one, other], [other, one, none], [none, one], [none, none]):
        both = join(sets)

        assert [name for each in sets for name in names_of(each)] == names_of(both)
    assert join([none, none]).groups is None
    assert join([one, one]).group_names == one.group_names


def test_groups_without_names_join_only_among_themselves() -> None:
    bare = rows(3, groups=np.array([1, 0, 1]))

    assert join([bare, bare]).groups.tolist() == [1, 0, 1] * 2
    with pytest.raises(DatasetError, match="groups without a name"):
        join([rows(3), bare])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0, 7])}, "row row 1: label 7"),
        ({"ids": ("one",)}, "ids has 1 rows"),
        ({"relevant": np.ones((2, 3, 3), bool)}, "relevant masks are"),
        ({"images": np.zeros((2, 4, 5), np.uint8)}, "images must be"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    good = {
        "images": np.zeros((2, 4, 5, 3), np.uint8),
        "labels": np.array([0, 1]),
        "classes": ("a", "b"),
        "ids": ("row 0", "row 1"),
    }

    with pytest.raises(DatasetError, match=message):
        ImageSet(**(good | change))


def test_the_digest_names_the_content_and_nothing_else() -> None:
    marked = np.zeros((3, 4, 5), bool)
    marked[1, 2, 3] = True

    assert rows(3).digest == rows(3).digest
    assert len({rows(3).digest, rows(4).digest, rows(3, relevant=marked).digest}) == 3
    assert rows(3).digest != rows(3, irrelevant=np.zeros((3, 4, 5), bool)).digest


def test_the_digest_tells_which_rows_are_annotated_where_their_masks_do_not() -> None:
    marked = np.zeros((3, 4, 5), bool)
    marked[1, 2, 3] = True
    plain = rows(3, relevant=marked)
    as_marked = rows(3, relevant=marked, annotated=np.array([False, True, False]))
    other = rows(3, relevant=marked, annotated=np.array([True, True, False]))

    assert plain.digest == as_marked.digest
    assert plain.digest != other.digest


def test_the_digest_of_a_set_is_the_one_that_stands_in_older_cards() -> None:
    """A champion's data are found again by it: computed as before annotated rows counted."""
    made = rows(3, relevant=np.ones((3, 4, 5), bool), groups=np.arange(3), subjects=["p", "q", ""])
    content = sha256(repr((made.classes, made.ids, made.subjects, ())).encode())
    for each in (made.images, made.labels, made.relevant, None, made.groups):
        content.update(repr(None if each is None else (each.shape, each.dtype.str)).encode())
        content.update(b"" if each is None else each.tobytes())

    assert made.digest == f"sha256:{content.hexdigest()}"
