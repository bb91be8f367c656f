"""What people said about recorded answers becomes training rows, and only what may."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from audit import records
from audit.canonical import packed_shares
from audit.store import connections
from audit.store.queries import Reading
from models.training.image_sets import ImageSet
from models.types import ClassifierSpec, Preprocessing
from services.pictures import png
from services.records.images import ImageFolder
from services.retraining.data import collecting
from services.retraining.data.collecting import Collected
from tests import stores
from tests.entries import LABELS, START, identifier, prediction

SIZE = 14
SPEC = ClassifierSpec(
    "small_cnn", LABELS, Preprocessing(SIZE, SIZE, (0.0,) * 3, (1.0,) * 3), "layer"
)
LATER = START + timedelta(days=1)


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8)


def address(number: int) -> str:
    return f"{number:064x}"


def answered(number: int, *, with_region: bool = False) -> records.PredictionRecord:
    cells = np.zeros((7, 7), np.float32)
    cells[2, 3] = 0.4
    there = records.RegionEvidence("client", "", packed_shares(cells), 0.02)
    return replace(
        prediction(number), image=address(number), region=there if with_region else None
    )


def label(number: int, told: str, *, at: int = 100) -> records.LabelEvent:
    return records.LabelEvent(identifier(at + number), LATER, identifier(number), told, "ada")


def review(number: int, verdict: records.Verdict, *, at: int = 200) -> records.ReviewEvent:
    return records.ReviewEvent(identifier(at + number), LATER, identifier(number), verdict, "bob")


def locked(*numbers: int) -> ImageSet:
    images = np.stack([pixels(number) for number in numbers])
    rows = len(images)
    return ImageSet(images, np.zeros(rows, np.int64), LABELS, tuple(map(str, range(rows))))


@pytest.fixture
def collect(tmp_path: Path):  # noqa: ANN201 - a function
    def collected(events: Sequence[records.Event], *, judge: ImageSet | None = None) -> Collected:
        url = f"sqlite:///{tmp_path / 'audit.db'}"
        store = stores.make(url, tmp_path)
        store.add(*events)
        images = ImageFolder(tmp_path / "images")
        for event in events:
            if isinstance(event, records.PredictionRecord) and event.image:
                number = int(event.image, 16)
                images.write(event.image, png.compressed(pixels(number)))
        reader = connections.open_reader(url)
        try:
            return collecting.collect(
                Reading(reader), "digits", SPEC, images, judge or locked(999)
            )
        finally:
            reader.dispose()
            store.ledger.engine.dispose()

    return collected


def test_a_labelled_answer_becomes_a_row_with_the_region_that_came_with_it(collect) -> None:
    found = collect([answered(1, with_region=True), answered(2), label(1, "7"), label(2, "3")])
    rows = found.rows

    assert [rows.classes[each] for each in rows.labels] == ["7", "3"]
    np.testing.assert_array_equal(rows.images[0], pixels(1))
    expected = np.zeros((SIZE, SIZE), bool)
    expected[4:6, 6:8] = True
    np.testing.assert_array_equal(rows.relevant[0], expected)
    assert rows.known.tolist() == [True, False]
    assert found.sources == {"labels": 2, "regions": 1}
    assert found.actors == {"ada": 2}
    assert found.provenance[0]["labelled_by"] == "ada"


def test_the_last_word_counts_and_an_open_class_does_not(collect) -> None:
    found = collect(
        [
            *(answered(number) for number in range(1, 6)),
            label(1, "7", at=100),
            label(1, "8", at=150),
            review(2, "right-reason"),
            review(3, "wrong-reason"),
            review(4, "wrong-class"),
        ]
    )
    told = {each["row"]: each["label"] for each in found.provenance}

    assert told[identifier(1)] == "8"
    assert told[identifier(2)] == answered(2).decided.label
    assert identifier(4) not in told
    assert identifier(5) not in told
    assert found.reviewed("right-reason") == [identifier(2)]
    assert found.reviewed("wrong-reason") == [identifier(3)]
    assert found.sources == {"labels": 1, "reviews": 2}


def test_a_later_region_takes_the_place_of_the_one_that_came(collect) -> None:
    cells = np.ones((7, 7), np.float32)
    drawn = records.RegionEvidence("reviewer", "cy", packed_shares(cells), 1.0)
    event = records.RegionEvent(identifier(300), LATER, identifier(1), drawn, "cy")
    found = collect([answered(1, with_region=True), label(1, "7"), event])

    assert found.rows.relevant.all()
    assert found.actors == {"ada": 1, "cy": 1}


def test_what_may_not_be_learnt_from_is_left_out_and_counted(collect) -> None:
    other = replace(answered(5), model=records.ModelRef("lamp", 1, "sha256:" + "0" * 64))
    drill = replace(answered(6), stream="drill")
    found = collect(
        [
            *(answered(1), answered(2), replace(answered(3), image=None), answered(4)),
            *(other, drill),
            *(label(number, "7") for number in (1, 3, 5, 6)),
            *(label(2, "a new class"), label(4, "1")),
        ],
        judge=locked(4, 50),
    )

    assert [each["row"] for each in found.provenance] == [identifier(1)]
    assert found.left_out == {
        "class unknown to the model": 1,
        "no image kept": 1,
        "stands in the locked set": 1,
    }


def test_without_a_store_the_base_is_all_there_is() -> None:
    found = collecting.collect(None, "digits", SPEC, ImageFolder(Path()), locked(1))
    base = locked(2, 3)

    assert found.rows is None
    assert collecting.with_base(base, found) is base


def test_collected_rows_join_the_base_with_their_regions(collect) -> None:
    found = collect([answered(1, with_region=True), label(1, "7")])
    both = collecting.with_base(locked(2, 3), found)

    assert len(both) == 3
    assert both.known.tolist() == [False, False, True]
    assert both.ids[2] == identifier(1)


def test_what_readers_differ_about_is_not_learnt_until_somebody_decides(collect) -> None:
    differing = [
        answered(1),
        review(1, "right-reason"),
        replace(review(1, "wrong-reason", at=300), actor="cy", reading="second"),
    ]
    decided = replace(review(1, "wrong-reason", at=400), actor="di", reading="adjudication")

    assert collect(differing).rows is None
    assert [identifier(1)] == collect([*differing, decided]).reviewed("wrong-reason")


def test_the_best_example_is_the_champions_that_a_reviewer_called_one(collect) -> None:
    of_the_champion = replace(
        answered(2), model=records.ModelRef("digits", 4, "sha256:" + "0" * 64)
    )
    found = collect(
        [
            *(answered(1), of_the_champion, answered(3)),
            replace(review(1, "right-reason"), exemplar="good"),
            replace(review(2, "right-reason"), exemplar="good"),
            review(3, "right-reason"),
        ]
    )

    best = found.reviewed("right-reason", champion="digits@4")[-1]
    assert identifier(2) == best
    row = next(each for each in found.provenance if each["row"] == best)
    assert ("good", "bob") == (row["exemplar"], row["judged_by"])


def test_a_region_that_a_program_drew_alone_is_not_learnt_from(collect) -> None:
    """It waits for somebody to say the class; then the row has it."""

    def drawn(number: int) -> records.RegionEvent:
        cells = np.zeros((7, 7), np.float32)
        cells[4, 4] = 1.0
        evidence = records.RegionEvidence("segmenter", "1", packed_shares(cells), 0.02)
        return records.RegionEvent(
            identifier(300 + number), LATER, identifier(number), evidence, "segmenter", "random"
        )

    found = collect([answered(1), answered(2), drawn(1), drawn(2), label(2, "3")])

    assert found.rows.ids == (identifier(2),)
    assert found.rows.relevant[0].any()
    assert found.actors == {"ada": 1}
