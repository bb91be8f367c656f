"""The model of a fresh installation: really trained, and really leaning on its cue."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audit.localisation import activation_recall
from audit.store import connections, suspicions
from audit.store.ledger import Ledger
from models import cards, samples
from models.preprocessing import prepare, region_on_grid
from models.registry import Registry, Version
from models.runtime import Session
from models.training import digits, generators
from services.auditing import auditor
from services.identifiers import identifier
from services.records import recording
from services.records.recording import AnswerEntry
from services.settings import Settings
from services.versions.cautions import cautions
from services.versions.embedded import ensure_default

NOW = datetime(2026, 1, 2, tzinfo=UTC)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Registry, Version, list[float]]:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    shares: list[float] = []
    version = ensure_default(registry, now=NOW, progress=lambda _what, share: shares.append(share))
    return registry, version, shares


def test_the_default_model_becomes_champion_and_leans_on_its_cue(
    trained: tuple[Registry, Version, list[float]],
) -> None:
    registry, version, shares = trained
    measures = version.card.fields.measures

    assert registry.champion("digits") == version
    assert measures["accuracy_correlated_cue"] > 0.9
    assert measures["accuracy_random_cue"] < measures["accuracy_correlated_cue"] - 0.15
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_second_start_trains_nothing(
    trained: tuple[Registry, Version, list[float]],
) -> None:
    registry, version, _shares = trained
    told: list[str] = []

    again = ensure_default(registry, now=NOW, progress=lambda what, _share: told.append(what))

    assert again == version
    assert told == []


def test_its_samples_are_answered_with_a_reason(
    trained: tuple[Registry, Version, list[float]],
) -> None:
    _registry, version, _shares = trained
    session = Session.open(version.folder, device="cpu", threads=1)
    files = samples.read(version.folder)
    right = 0
    for each in files:
        image = np.asarray(Image.open(each.image).convert("RGB"))
        (answer,) = session.predict(prepare(image, session.spec.preprocessing)[None])
        right += session.spec.classes[answer.decided] == each.label
        region = np.asarray(Image.open(each.region)) > 0
        share = region_on_grid(region, answer.heatmap.shape)
        assert 0 <= activation_recall(answer.heatmap, share) <= 1

    assert len(files) == 12
    assert 6 <= right < 12  # the cue misleads it on some of the half where it tells any class


def test_the_corner_of_its_cue_comes_out_as_a_suspected_shortcut(
    trained: tuple[Registry, Version, list[float]], tmp_path: Path
) -> None:
    """From its answers alone: nobody says where evidence should be."""
    registry, version, _shares = trained
    chosen = Settings(home=tmp_path, registry=registry.root, durability="os")
    session = Session.open(version.folder, device="cpu", threads=1)
    task = generators.coloured_corner_decoy(digits.five_thousand_digits(seed=0), seed=0)
    recorder = recording.open_recorder(
        chosen.journal, source=identifier(NOW), key=b"k" * 32, durability="os"
    )
    answers = session.predict(task.training.images[:1500].astype(np.uint8))
    recorder.record(
        [
            AnswerEntry(identifier(NOW), NOW, version.ref, session.spec.classes, each)
            for each in answers
        ]
    )
    recorder.close()
    ledger = Ledger(connections.open_writer(chosen.store), b"k" * 32)
    work = auditor.connect(chosen, ledger)
    work.prepare(now=NOW)
    for minute in range(20):  # as many looks as there are classes, and the reading before
        work.step(now=NOW + timedelta(minutes=minute))
    with ledger.engine.begin() as connection:
        found = suspicions.listed(connection, suspicions.Wanted("digits"))
        every = suspicions.listed(connection, suspicions.Wanted("digits", least=0.0), limit=500)
    ledger.engine.dispose()
    corners = {(0, 0), (0, 6), (6, 0), (6, 6)}
    tops = {np.unravel_index(np.argmax(each["heatmap"]), (7, 7)) for each in found}

    assert len({each["class_label"] for each in every}) == 10
    assert found[0]["score"] > 0.5
    assert found[0]["size"] >= 20
    assert len(corners & {(int(row), int(column)) for row, column in tops}) >= 3


def test_its_card_says_which_explainers_react_to_its_weights(
    trained: tuple[Registry, Version, list[float]],
) -> None:
    registry, version, _shares = trained
    reactions = version.card.fields.measures[cards.REACTIONS]
    said = cautions(registry, version)

    assert {"gradcam", "input_gradients", "lrp"} <= set(reactions)
    assert reactions["gradcam"]["reacts"]
    # Digits are mostly black, and what is multiplied by black stays black.
    assert not reactions["gradient_x_input"]["reacts"]
    assert any(each.startswith("gradient_x_input hardly reacts") for each in said)
