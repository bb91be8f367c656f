"""Answer → journal → the same answer again; images keyed and without metadata."""

import io
import stat

import numpy as np
import pytest
from PIL import Image

from audit import records
from audit.canonical import shares
from audit.errors import JournalUnavailableError, StoreError
from audit.journal import reader
from models.types import ModelRef, Prediction
from services import secret
from services.pictures.png import compressed
from services.records.images import ImageFolder
from services.records.recording import (
    AnsweredRegion,
    AnswerEntry,
    image_address,
    open_recorder,
)
from services.records.trail import Trail
from tests.entries import START, identifier

KEY = bytes(range(32))


def answer(number: int = 1, **changes: object) -> AnswerEntry:
    rng = np.random.default_rng(number)
    probabilities = rng.dirichlet(np.ones(10)).astype(np.float32)
    fields = {
        "prediction_id": identifier(number),
        "now": START,
        "model": ModelRef("digits", 3, "sha256:00"),
        "classes": [f"digit {index}" for index in range(10)],
        "prediction": Prediction(
            logits=np.log(probabilities),
            probabilities=probabilities,
            target=4,
            heatmap=rng.random((7, 7), np.float32),
            embedding=rng.normal(size=16).astype(np.float32),
        ),
        "image": rng.integers(0, 255, (12, 10, 3), np.uint8),
        "region": AnsweredRegion("client", "", rng.random((7, 7), np.float32), 0.3),
        "measures": {"activation_recall": np.float32(0.5)},
        "subject": "patient-1",
    }
    return AnswerEntry(**(fields | changes))


@pytest.fixture
def trail(tmp_path) -> Trail:
    return Trail(tmp_path / "journal", ImageFolder(tmp_path / "images"), lambda: None)


@pytest.mark.parametrize("mode", ["strict", "async"])
def test_an_answer_is_found_as_it_was_given(tmp_path, trail, mode) -> None:
    given = answer()
    recorder = open_recorder(tmp_path / "journal", source="w", key=KEY, mode=mode)
    recorder.record([answer(0), given, answer(2)])
    if mode == "async":
        recorder.journal.flush()

    found = trail.find(given.prediction_id)

    assert found.prediction_id == given.prediction_id
    assert found.model.digest == "sha256:00"
    assert (found.decided.index, found.target.index) == (given.prediction.decided, 4)
    assert found.target.label == "digit 4"
    assert [each.index for each in found.classes] == list(
        np.argsort(-given.prediction.probabilities)[:5]
    )
    assert (found.probabilities.array() == given.prediction.probabilities).all()
    assert np.abs(shares(found.heatmap) - given.prediction.heatmap).max() < 1 / 500
    assert found.region.source == "client"
    assert found.measures == {"activation_recall": 0.5}
    recorder.close()


def test_its_image_is_the_pixels_and_nothing_else(tmp_path, trail) -> None:
    given = answer()
    open_recorder(tmp_path / "journal", source="w", key=KEY).record([given])

    opened = Image.open(io.BytesIO(trail.image(given.prediction_id)))

    assert opened.format == "PNG"
    assert opened.info == {}
    assert (np.asarray(opened) == given.image).all()


def test_an_image_in_its_folder_is_found(trail) -> None:
    given = answer()
    recorder = open_recorder(trail.journal, source="w", key=KEY)
    recorder.record([given])
    address = image_address(KEY, given.prediction_id, given.image)
    trail.images.write(address, b"moved there")

    assert trail.image(given.prediction_id) == b"moved there"


def test_what_is_unknown_is_none(trail) -> None:
    assert trail.find(identifier(9)) is None
    assert trail.image(identifier(9)) is None


def test_an_answer_without_an_image_has_none(tmp_path, trail) -> None:
    open_recorder(tmp_path / "journal", source="w", key=KEY).record([answer(image=None)])

    assert trail.find(identifier(1)).image is None
    assert trail.image(identifier(1)) is None


def test_an_id_inside_a_text_is_not_an_answer(tmp_path, trail) -> None:
    """A client's text cannot pretend to be another answer's record."""
    forged = f'"event_id":"{identifier(5)}"'
    open_recorder(tmp_path / "journal", source="w", key=KEY).record([answer(subject=forged)])

    assert trail.find(identifier(5)) is None


def test_later_truth_goes_the_same_way(tmp_path) -> None:
    recorder = open_recorder(tmp_path / "journal", source="w", key=KEY)
    label = records.LabelEvent(identifier(2), START, identifier(1), "7", "ada")
    recorder.note([label])

    assert [label] == [
        records.from_bytes(each) for each, _ in reader.read(tmp_path / "journal", {})
    ]


def test_a_strict_recorder_fails_closed(tmp_path) -> None:
    recorder = open_recorder(tmp_path / "journal", source="w", key=KEY, reserve_bytes=2**62)

    with pytest.raises(JournalUnavailableError):
        recorder.record([answer()])
    assert [] == list(reader.read(tmp_path / "journal", {}))


def test_an_asynchronous_recorder_counts_what_it_lost(tmp_path) -> None:
    recorder = open_recorder(
        tmp_path / "journal", source="w", key=KEY, mode="async", reserve_bytes=2**62
    )
    recorder.record([answer()])
    recorder.close()

    assert recorder.dropped == 2  # the image and the prediction


def test_off_records_nothing(tmp_path) -> None:
    open_recorder(tmp_path / "journal", source="w", key=KEY, mode="off").record([answer()])

    assert not (tmp_path / "journal").exists()


def test_addresses_are_keyed_and_belong_to_one_answer() -> None:
    image = answer().image
    address = image_address(KEY, identifier(1), image)

    assert address != image_address(KEY[::-1], identifier(1), image)
    assert address != image_address(KEY, identifier(2), image)
    assert address != image_address(KEY, identifier(1), image.reshape(10, 12, 3))
    assert address == image_address(KEY, identifier(1), image.copy())


def test_the_key_is_made_once_and_is_private(tmp_path) -> None:
    path = tmp_path / "keys" / "images.key"
    first = secret.secret_key(path)

    assert len(first) == 32
    assert first == secret.secret_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [path] == list(path.parent.iterdir())


def test_images_are_written_once_and_erased(tmp_path) -> None:
    images = ImageFolder(tmp_path)
    address, png = "ab" * 32, compressed(answer().image)
    images.write(address, png)
    images.write(address, b"ignored")

    assert png == images.read(address)
    assert images.erase(address)
    assert images.read(address) is None
    assert not images.erase(address)


@pytest.mark.parametrize("address", ["../../etc/passwd", "AB" * 32, "", "ab" * 31])
def test_what_is_no_address_is_refused(tmp_path, address) -> None:
    with pytest.raises(StoreError):
        ImageFolder(tmp_path).read(address)
