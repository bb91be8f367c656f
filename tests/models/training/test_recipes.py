"""Recipes: what is written is what is run."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.architectures import save_weights
from models.errors import TrainingError
from models.training import building, recipes, running
from models.training.optimizers import TrainingConfig
from models.training.recipes import Recipe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Bright and dark images with a region each."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        for label, base in (("dark", 0), ("bright", 120)):
            for number in range(count):
                path = tmp_path / "set" / split / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = draw.integers(base, base + 100, (28, 28, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(path)
                region = np.zeros((28, 28), np.uint8)
                region[6:22, 6:22] = 255
                mask = tmp_path / "set" / "regions" / split / label / f"{number}.png"
                mask.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(region).save(mask)
    return tmp_path / "set"


def recipe(folder: Path, **changes: object) -> Recipe:
    config = TrainingConfig(epochs=1, batch_size=4, device="cpu")
    return Recipe(**({"data": str(folder), "objective": "rrr", "training": config} | changes))


def test_a_recipe_survives_being_written_and_read(tmp_path: Path) -> None:
    given = recipe(
        tmp_path, options={"weight": 3.5, "scalar": "random_sign"}, balance={"ratio": 2.0}
    )
    (tmp_path / "recipe.toml").write_text(given.to_toml())

    assert recipes.read(tmp_path / "recipe.toml") == given
    assert tomllib.loads(given.to_toml())["training"]["epochs"] == 1


def test_a_training_that_begins_with_trained_weights_has_defaults_of_its_own(
    tmp_path: Path,
) -> None:
    tuned = recipes.parse({"data": "x", "weights": "imagenet", "training": {"epochs": 2}})
    kept = recipes.parse({"data": "x", "weights": "a", "training": {"schedule": "constant"}})
    refined = recipes.parse({"data": "x", "weights": "a", "objective": "exbl"})

    assert ("one_cycle", 1.0, 32) == (
        tuned.training.schedule,
        tuned.training.clip,
        tuned.training.batch_size,
    )
    assert kept.training == TrainingConfig()
    assert refined.training == TrainingConfig()
    for each in (tuned, kept, refined):  # what was run is what the file says
        path = tmp_path / "recipe.toml"
        path.write_text(each.to_toml())
        assert recipes.read(path).training == each.training


def test_a_recipe_freezes_batch_normalisation(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('data = "photos"\n[training]\nfreeze_batchnorm = true\n')
    found = recipes.read(path)
    path.write_text(found.to_toml())

    assert found.training.freeze_batchnorm
    assert recipes.read(path) == found


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(
        'data = "photos"\nweights = "imagenet"\nobjective = "tea"\n'
        '[options]\nteacher = "../plain.safetensors"\nview = "same"\nunbiased = ""\n'
    )
    found = recipes.read(tmp_path / "recipe.toml")

    assert found.data == str(tmp_path / "photos")
    assert found.weights == "imagenet"
    assert found.options == {
        "teacher": str(tmp_path.parent / "plain.safetensors"),
        "view": "same",
        "unbiased": "",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("objective = 'rrr'", "names no data"),
        ("data = 'x'\nobjectiv = 'rrr'", "no 'objectiv'; it has architecture, balance"),
        ("data = 'x'\n[training]\nepoch = 3", r"\[training\] has no 'epoch'"),
        ("data = 'x'\n[balance]\nrate = 3", r"\[balance\] has no 'rate'"),
        ("data = ", "cannot be read as TOML"),
    ],
)
def test_a_recipe_that_cannot_be_used_says_why(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "recipe.toml").write_text(content)

    with pytest.raises(TrainingError, match=message):
        recipes.read(tmp_path / "recipe.toml")


def test_running_a_balanced_recipe_writes_down_the_weight(folder: Path) -> None:
    trained = running.run(recipe(folder, balance={"ratio": 1.0, "warm_up": 0}))

    assert trained.recipe.balance is None
    assert trained.recipe.options["weight"] > 0
    assert set(trained.splits) == {"train", "val", "test"}
    again = running.run(trained.recipe)
    assert again.result.history[0].terms["total"] == trained.result.history[0].terms["total"]


def test_a_student_learns_from_a_teacher_of_the_same_architecture(
    folder: Path, tmp_path: Path
) -> None:
    teacher = running.run(recipe(folder, objective="erm"))
    path = tmp_path / "teacher.safetensors"
    save_weights(teacher.classifier, path)
    taught = running.run(recipe(folder, objective="tea", options={"teacher": str(path)}))
    last = [each.network[-1].weight for each in (teacher.classifier, taught.classifier)]

    assert (last[0] == last[1]).all()
    for options, words in (
        ({"view": "same"}, "either teacher=weights.safetensors or unbiased=FOLDER"),
        ({"teacher": str(path), "view": "blurred"}, "'blurred' is none of masked, segmented"),
        ({"teacher": str(path), "weight": 1}, "tea has no option 'weight'"),
    ):
        with pytest.raises(TrainingError, match=words):
            running.run(recipe(folder, objective="tea", options=options))


def test_weights_of_a_former_training_are_taken_up(folder: Path, tmp_path: Path) -> None:
    first = running.run(recipe(folder, objective="erm"))
    save_weights(first.classifier, tmp_path / "weights.safetensors")
    built = building.build(
        recipe(folder, weights=str(tmp_path / "weights.safetensors")), ("bright", "dark")
    )

    assert (built.network[0].weight == first.classifier.network[0].weight).all()
    with pytest.raises(TrainingError, match="no weights at nowhere"):
        building.build(recipe(folder, weights="nowhere"), ("bright", "dark"))


def test_a_balanced_training_goes_on_with_the_weight_that_it_began_with(
    folder: Path, tmp_path: Path
) -> None:
    """Another weight in the note, that no balancing would find, is what is then taken."""
    asked = recipe(folder, balance={"ratio": 1.0, "warm_up": 0})
    more = replace(asked, training=replace(asked.training, epochs=2))
    first = running.run(asked, checkpoint=tmp_path / "checkpoint")
    longer = running.run(more, checkpoint=tmp_path / "checkpoint")
    note = tmp_path / "checkpoint" / "balance.json"
    told = json.loads(note.read_text())
    told["found"]["options"]["weight"] *= 3
    note.write_text(json.dumps(told))

    assert longer.recipe.options == first.recipe.options
    assert longer.result.history[0] == first.result.history[0]
    assert len(longer.result.history) == 2
    with pytest.raises(TrainingError, match=r"made with objective = .rrr\(weight="):
        running.run(asked, checkpoint=tmp_path / "checkpoint")


def test_what_was_found_counts_for_the_same_recipe_and_data_alone(tmp_path: Path) -> None:
    asked = recipe(tmp_path, balance={"ratio": 2.0}, options={"scalar": "random_sign"})
    found = recipe(tmp_path, options={"scalar": "random_sign", "weight": 7.0})
    path = tmp_path / "deep" / "found.json"
    recipes.remember(path, asked, found, data="sha256:1", trials=[1, 2])
    more = replace(asked, training=replace(asked.training, epochs=9))

    assert recipes.remembered(path, asked, data="sha256:1") == found
    assert recipes.remembered(path, more, data="sha256:1").training.epochs == 9
    assert recipes.remembered(path, asked, data="sha256:2") is None
    assert (
        recipes.remembered(path, replace(asked, architecture="resnet18"), data="sha256:1") is None
    )
    assert recipes.remembered(tmp_path / "nothing", asked, data="sha256:1") is None
