"""What the gate is told about a version, asked in its own and in other surroundings."""

from pathlib import Path

import numpy as np
import pytest

from models.runtime import Session
from models.training.image_sets import ImageSet
from services.retraining import evaluating
from tests import graphs

SIDE = graphs.SIDE


def rows(cues: str, labels: str) -> ImageSet:
    """Images whose lower half is irrelevant and shows a cue; the answer follows it.

    The region, the upper half, is grey: whatever is right is right by the cue.
    """
    names = [next(each for each in graphs.CLASSES if each[0] == letter) for letter in cues]
    images = np.stack([graphs.patch(name, 8, 4, size=8) for name in names])
    relevant = np.zeros((len(cues), SIDE, SIDE), bool)
    relevant[:, :8] = True
    return ImageSet(
        images=images,
        labels=np.array(["rgb".index(letter) for letter in labels], np.int64),
        classes=graphs.CLASSES,
        ids=tuple(map(str, range(len(cues)))),
        relevant=relevant,
    )


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session.open(graphs.write_version(tmp_path), device="cpu", threads=1)


def test_flips_count_where_the_answer_had_been_right(session: Session) -> None:
    asked = rows("rgbrgb", "rgbgbr")
    found = evaluating.outcomes(session, asked, np.arange(6), model="colours@1")

    assert found.correct.tolist() == [1, 1, 1, 0, 0, 0]
    assert found.flip[:3].tolist() == [1, 1, 1]
    assert np.isnan(found.flip[3:]).all()
    assert evaluating.summary(found)["flip"] == 1.0


def test_surroundings_of_another_label_are_those_of_the_labels_not_of_the_answers(
    session: Session,
) -> None:
    asked = rows("rgbrgb", "rgbrgb")
    found = evaluating.outcomes(session, asked, np.arange(6), model="colours@1")

    assert found.surroundings.keys() == {"painted", "exchanged", "reversed"}
    assert found.surroundings["reversed"].tolist() == [0.0] * 6
    assert not np.isnan(found.surroundings["exchanged"]).any()


def test_nobody_of_another_label_lends_no_reversed_surroundings(session: Session) -> None:
    found = evaluating.outcomes(session, rows("rr", "rr"), np.arange(2), model="colours@1")

    assert np.isnan(found.surroundings["reversed"]).all()
    assert found.surroundings["exchanged"].tolist() == [1.0, 1.0]
