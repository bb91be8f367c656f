"""The reference that a card carries, compared with a plain loop, and read back by the auditor."""

from pathlib import Path

import numpy as np
import pytest

from audit import localisation
from audit.detectors.family import Series, Side
from models import preprocessing
from models.cards import CardFields
from models.registry import Registry
from models.runtime import Session
from services import clock
from services.versions import baselines
from services.versions.references import FIELD, STRANGENESS_FILE, CardReferences
from tests import graphs


def images_and_regions(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    images, regions = [], []
    for number in range(count):
        row, column = (int(each) for each in rng.integers(0, 13, 2))
        noise = rng.integers(0, 20, (16, 16, 3), np.uint8)
        images.append(graphs.patch(graphs.CLASSES[number % 3], row, column) + noise)
        region = np.zeros((16, 16), bool)
        region[row : row + 4, column : column + 4] = True
        regions.append(region)
    return np.stack(images), np.stack(regions)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, dict]:
    folder = graphs.write_version(tmp_path_factory.mktemp("made") / "1")
    return folder, baselines.measure(folder, *images_and_regions(450))


def test_the_reference_is_what_a_loop_says(made) -> None:
    folder, found = made
    images, regions = images_and_regions(450)
    session = Session.open(folder, device="cpu", threads=1)
    recalls = []
    for image, region in zip(images, regions, strict=True):
        [answer] = session.predict(image[None])
        if answer.decided == 0:
            shares = preprocessing.region_on_grid(region, answer.heatmap.shape)
            recalls.append(localisation.measure(answer.heatmap, shares).activation_recall)
    mean, deviation, count = found["activation_recall"]["red"]

    assert (len(recalls), pytest.approx(np.mean(recalls), abs=1e-5)) == (count, mean)
    assert deviation == pytest.approx(np.std(recalls, ddof=1), abs=1e-5)
    assert {
        "activation_recall",
        "relevance_mass",
        "chance",
        "confidence",
        "flip",
        "directed_flip",
        "part_reliance",
        "class_mix",
    } == set(found)


def test_the_auditor_reads_it_from_the_card(made, tmp_path) -> None:
    folder, found = made
    registry = Registry(tmp_path)
    registry.add("colours", folder, CardFields(measures={FIELD: found}), now=clock.now())
    references = CardReferences(registry)
    series = Series("colours", 1, "activation_recall", Side.LOW, "red", "client")
    read = references.reference(series)
    strangers = references.strangeness("colours", 1)

    assert [read.mean, read.deviation, read.observations] == found["activation_recall"]["red"]
    assert references.reference(Series("colours", 1, "unknown", Side.LOW)) is None
    assert references.reference(Series("none", 1, "confidence", Side.LOW)) is None
    assert references.strangeness("none", 1) is None
    far = np.full((1, strangers.mean.size), 100.0)
    assert strangers.p_values(strangers.strangeness(far))[0] < 0.02


def test_few_images_give_no_reference(tmp_path) -> None:
    folder = graphs.write_version(tmp_path / "1")
    images, regions = images_and_regions(60)
    found = baselines.measure(folder, images, np.zeros_like(regions))

    mix = {label: [pytest.approx(1 / 3), 0.0, 20] for label in graphs.CLASSES}
    assert {"confidence": {}, "class_mix": mix} == found
    assert not (folder / STRANGENESS_FILE).exists()


def test_images_without_regions_have_a_confidence(tmp_path) -> None:
    folder = graphs.write_version(tmp_path / "1")
    images, _ = images_and_regions(120)
    found = baselines.measure(folder, images, None)

    assert set(graphs.CLASSES) == set(found["confidence"])


@pytest.mark.parametrize(
    "stated",
    [[0.5, 0.1], [2.0, 0.1, 100], [0.5, -1.0, 100], [0.5, 0.1, 3], ["a", 0, 1], None, {}],
)
def test_a_card_that_says_something_else_has_no_reference(tmp_path, stated) -> None:
    folder = graphs.write_version(tmp_path / "1")
    registry = Registry(tmp_path / "registry")
    fields = CardFields(measures={FIELD: {"confidence": {"red": stated}}})
    registry.add("colours", folder, fields, now=clock.now())
    series = Series("colours", 1, "confidence", Side.LOW, "red")

    assert CardReferences(registry).reference(series) is None
