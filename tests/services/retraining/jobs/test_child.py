"""What the training process reads from its folder, and how it begins."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models import architectures
from models.errors import TrainingError
from models.explainers.gradcam import gradcam
from models.training.batches import batch_of
from models.training.distillation import TEA, masked_images
from models.training.exemplary import ExemplaryLearning, explanation_of
from models.training.image_sets import ImageSet
from models.training.objectives import ERM
from models.training.optimizers import TrainingConfig
from models.training.scores import answers
from models.training.teaching import blackened
from models.training.trainer import train
from services.retraining.files import Folder
from services.retraining.jobs import child, progress

CLASSES = ("bright", "dark")
SPEC = architectures.default_spec("small_cnn", CLASSES, height=28, width=28)


@pytest.fixture
def rows() -> ImageSet:
    draw = np.random.default_rng(0)
    relevant = np.zeros((6, 28, 28), bool)
    relevant[:3, 8:20, 8:20] = True
    return ImageSet(
        images=draw.integers(0, 255, (6, 28, 28, 3)).astype(np.uint8),
        labels=np.array([0, 1] * 3, np.int64),
        classes=CLASSES,
        ids=tuple("abcdef"),
        relevant=relevant,
        irrelevant=~relevant,
        annotated=relevant.any(axis=(1, 2)),
        groups=np.array([0, 0, 0, 1, 1, 1], np.int64),
        group_names=("one", "other"),
        subjects=("x", "", "", "", "", "y"),
    )


@pytest.mark.parametrize("masked", [True, False])
def test_a_set_is_read_back_as_it_was_written(
    tmp_path: Path, rows: ImageSet, *, masked: bool
) -> None:
    written = (
        rows
        if masked
        else replace(rows, relevant=None, irrelevant=None, groups=None, subjects=None)
    )
    here = Folder(tmp_path / "r1")
    here.write_set("training", written)

    assert here.read_set("training").digest == written.digest
    np.testing.assert_array_equal(here.read_set("training").known, written.known)


def test_exbl_follows_the_explanations_that_the_reviewer_saw(
    tmp_path: Path, rows: ImageSet
) -> None:
    """A slower truth: the champion's own Grad-CAM of the two reviewed images."""
    torch.manual_seed(0)
    champion = architectures.build(SPEC).eval()
    rows = replace(rows, labels=answers(champion, rows).logits.argmax(axis=1))
    weights = tmp_path / "weights.safetensors"
    architectures.save_weights(champion, weights)
    recipe = {
        "spec": asdict(SPEC),
        "objective": "exbl",
        "options": {"weight": 2.0},
        "training": {"seed": 1},
        "weights": "",
        "champion_weights": str(weights),
        "good": "b",
        "bad": "e",
    }
    made = child._objective(json.loads(json.dumps(recipe)), rows)

    assert isinstance(made, ExemplaryLearning)
    assert made.weight == 2.0
    for exemplar, row in ((made.good, 1), (made.bad, 4)):
        batch = batch_of(rows, np.array([row], np.int64))
        cam = gradcam(champion, batch.images, batch.labels).attribution.detach()
        torch.testing.assert_close(exemplar.explanation, explanation_of(batch.images, cam)[0])
        assert (exemplar.row, exemplar.chosen_by) == (row, "review")


def test_fresh_weights_depend_on_the_seed_and_continued_ones_are_the_champions(
    tmp_path: Path,
) -> None:
    champion = architectures.build(SPEC)
    weights = tmp_path / "weights.safetensors"
    architectures.save_weights(champion, weights)
    recipe = {
        "spec": asdict(SPEC),
        "training": {"seed": 1},
        "weights": "",
        "champion_weights": str(weights),
    }

    def first(**changes: object) -> torch.Tensor:
        return next(child._network({**recipe, **changes}).parameters()).detach()

    assert torch.equal(first(), first())
    assert not torch.equal(first(), first(training={"seed": 2}))
    assert torch.equal(first(weights=str(weights)), next(champion.parameters()).detach())


def test_a_training_begins_with_what_the_champions_began_with(tmp_path: Path) -> None:
    """The published weights, not random ones: a pretrained champion is retrained pretrained."""
    published, champions = tmp_path / "published", tmp_path / "champions"
    first = architectures.build(SPEC)
    architectures.save_weights(first, published)
    recipe = {
        "spec": asdict(SPEC),
        "training": {"seed": 1},
        "weights": str(published),
        "champion_weights": str(champions),
    }

    begun = child._network(recipe)
    assert torch.equal(next(begun.parameters()), next(first.parameters()))
    with pytest.raises(TrainingError, match="no weights at"):
        child._network({**recipe, "weights": str(tmp_path / "absent")})


def test_tea_is_taught_by_the_version_that_the_recipe_names(
    tmp_path: Path, rows: ImageSet
) -> None:
    teacher, weights = architectures.build(SPEC), tmp_path / "weights.safetensors"
    architectures.save_weights(teacher, weights)
    told = {"name": "clean@1", "weights": str(weights), "spec": asdict(SPEC)}
    made = child._objective(
        json.loads(json.dumps({"objective": "tea", "options": {}, "teacher": told})), rows
    )

    assert isinstance(made, TEA)
    assert not made.teacher.training
    for found, wanted in zip(made.teacher.parameters(), teacher.parameters(), strict=True):
        assert torch.equal(found, wanted)


def test_a_teacher_is_trained_first_on_images_without_what_is_irrelevant(
    tmp_path: Path, rows: ImageSet
) -> None:
    """Killed after it, the next attempt takes the same teacher up."""
    here = Folder(tmp_path)
    for name in ("training", "validation"):
        here.write_set(name, rows)
    recipe = {
        "spec": asdict(SPEC),
        "objective": "tea",
        "options": {},
        "teacher": None,
        "training": {"seed": 1, "epochs": 2, "batch_size": 3, "criterion": "last"},
        "weights": "",
        "champion_weights": "",
        "good": "",
        "bad": "",
    }
    here.write_json("recipe.json", recipe)
    assert child._train(here, 1, lambda: False) == 0

    other = {**recipe, "training": {**recipe["training"], "seed": 2}}
    wanted = child._network(other)
    config = TrainingConfig(**other["training"])
    train(wanted, ERM(), blackened(rows), blackened(rows), config)
    student, found = child._network(recipe), child._network(recipe)
    objective = TEA(wanted.eval(), view=masked_images)
    train(student, objective, rows, rows, TrainingConfig(**recipe["training"]))
    architectures.load_weights(found, here.attempt(1) / "weights.safetensors")
    for mine, theirs in zip(found.parameters(), student.parameters(), strict=True):
        assert torch.equal(mine, theirs)

    shutil.rmtree(here.attempt(1) / "checkpoint")  # killed when its teacher was ready
    assert child._train(here, 2, lambda: False) == 0
    assert (here.attempt(2) / "weights.safetensors").read_bytes() == (
        here.attempt(1) / "weights.safetensors"
    ).read_bytes()


def test_an_attempt_begins_with_the_newest_checkpoint_of_the_earlier_ones(
    tmp_path: Path, rows: ImageSet
) -> None:
    here = Folder(tmp_path)
    for attempt, epochs in ((1, 1), (2, 2)):
        config = TrainingConfig(epochs=epochs, batch_size=3)
        folder = here.attempt(attempt) / "checkpoint"
        train(architectures.build(SPEC), ERM(), rows, rows, config, checkpoint=folder)
    here.attempt(3).mkdir()
    here.attempt(4).mkdir()
    child._take_checkpoint(here, 4)

    found = here.attempt(4) / "checkpoint"
    assert len(json.loads((found / "training.json").read_text())["history"]) == 2
    child._take_checkpoint(here, 1)  # its own stays
    own = here.attempt(1) / "checkpoint" / "training.json"
    assert len(json.loads(own.read_text())["history"]) == 1


def test_the_last_whole_line_of_the_progress_counts(tmp_path: Path) -> None:
    path = tmp_path / progress.FILE
    assert progress.last(path) is None
    path.write_text('{"epoch": 1}\n{"epoch": 2}\n{"epo')

    assert progress.last(path) == {"epoch": 2}
