"""The model of a fresh installation: really trained, and really leaning on its cue."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audit.localisation import activation_recall
from audit.store import connections, suspicions
from audit.store.ledger import Ledger
from models import cards, samples
from models.errors import ModelsError
from models.preprocessing import prepare, region_on_grid
from models.registry import Registry, Version
from models.runtime import Session
from models.training import digits, generators
from services import settings
from services.auditing import auditor
from services.identifiers import identifier
from services.records import recording
from services.records.recording import AnswerEntry
from services.settings import Settings
from services.versions import embedded
from services.versions.cautions import cautions

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Registry, Version]:
    """The model as it comes along, filed and promoted."""
    registry = Registry(tmp_path_factory.mktemp("registry"))
    return registry, embedded.ensure_default(registry, now=NOW, progress=lambda *_: None)


def test_the_default_model_becomes_champion_and_leans_on_its_cue(
    shipped: tuple[Registry, Version],
) -> None:
    registry, version = shipped
    measures = version.card.fields.measures

    assert registry.champion("digits") == version
    assert measures["accuracy_correlated_cue"] > 0.9
    assert measures["accuracy_random_cue"] < measures["accuracy_correlated_cue"] - 0.15
    assert embedded.ARCHIVE.stat().st_size < 500_000


def test_a_second_start_unpacks_nothing(shipped: tuple[Registry, Version]) -> None:
    registry, version = shipped
    told: list[str] = []

    again = embedded.ensure_default(
        registry, now=NOW, progress=lambda what, _share: told.append(what)
    )

    assert again == version
    assert told == []


def test_a_first_start_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom services.commands.cli import app\n"
        "app(['up', '--only-champion'], standalone_mode=False)\n"
        "print(*{'torch', 'torchvision', 'mlxtend', 'sklearn'} & set(sys.modules))"
    )
    environ = {**settings.inherited(), "RIGHTLY_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environ
    )

    assert "digits version 1 is the champion" in done.stdout
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize("damage", ["cut", "changed", "missing"])
def test_a_damaged_archive_is_refused_in_words(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "digits.rightly.tar.xz"
    content = bytearray(embedded.ARCHIVE.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    if damage == "changed":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    monkeypatch.setattr(embedded, "ARCHIVE", path)
    registry = Registry(tmp_path / "registry")

    with pytest.raises(ModelsError):
        embedded.ensure_default(registry, now=NOW, progress=lambda *_: None)
    assert registry.models() == []


def test_a_python_without_lzma_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lzma", None)

    with pytest.raises(ModelsError, match="built without liblzma"):
        embedded.ensure_default(Registry(tmp_path), now=NOW, progress=lambda *_: None)


@pytest.mark.slow
def test_the_archive_holds_what_its_recipe_makes(
    shipped: tuple[Registry, Version], tmp_path: Path
) -> None:
    """Trained anew: byte for byte on one machine, and nearly so on another's processor."""
    came, shares = shipped[1], list[float]()
    made = embedded.make(
        Registry(tmp_path), now=NOW, progress=lambda _what, share: shares.append(share)
    )
    task = generators.coloured_corner_decoy(digits.five_thousand_digits(seed=0), seed=0)
    images = task.tests["random"].images.astype(np.uint8)
    decided = [
        [
            each.decided
            for each in Session.open(one.folder, device="cpu", threads=1).predict(images)
        ]
        for one in (came, made)
    ]
    before, after = (each.card.fields for each in (came, made))
    again = dict(after.lineage.recipe)

    assert before.lineage.recipe.items() <= again.items(), "make default-model"
    assert before.lineage.dataset == after.lineage.dataset, "make default-model"
    assert before.lineage.seeds == after.lineage.seeds
    assert came.card.spec == made.card.spec, "make default-model"
    assert {name for name in came.card.files if "samples" in name} == {
        name for name in made.card.files if "samples" in name
    }
    assert np.mean(np.equal(*decided)) > 0.97
    for name, value in before.measures.items():
        if name.startswith("accuracy"):
            assert value == pytest.approx(after.measures[name], abs=0.03)
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_its_samples_are_answered_with_a_reason(
    shipped: tuple[Registry, Version],
) -> None:
    _registry, version = shipped
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
    shipped: tuple[Registry, Version], tmp_path: Path
) -> None:
    """From its answers alone: nobody says where evidence should be."""
    registry, version = shipped
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
    shipped: tuple[Registry, Version],
) -> None:
    registry, version = shipped
    reactions = version.card.fields.measures[cards.REACTIONS]
    said = cautions(registry, version)

    assert {"gradcam", "input_gradients", "lrp"} <= set(reactions)
    assert reactions["gradcam"]["reacts"]
    # Digits are mostly black, and what is multiplied by black stays black.
    assert not reactions["gradient_x_input"]["reacts"]
    assert any(each.startswith("gradient_x_input hardly reacts") for each in said)
