"""Which rows of a data set a version is judged on."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from models.cards import CardFields, Lineage
from models.errors import DatasetError
from models.registry import Registry, Version
from models.runtime import Session
from models.training import building, datasets
from models.training.recipes import parse
from services import clock, settings
from services.commands.cli import app
from services.retraining.data import bases
from services.versions import scoring
from tests import graphs


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = graphs.write_version(tmp_path_factory.mktemp("made") / "1")
    return Session.open(folder, device="cpu", threads=1)


@pytest.fixture(scope="module")
def undivided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in a folder per class, which names no split."""
    root = tmp_path_factory.mktemp("colours")
    draw = np.random.default_rng(3)
    for number in range(60):
        colour = graphs.CLASSES[number % 3]
        noise = draw.integers(0, 20, (graphs.SIDE, graphs.SIDE, 3)).astype(np.uint8)
        (root / colour).mkdir(exist_ok=True)
        Image.fromarray(graphs.patch(colour) + noise).save(root / colour / f"{number}.png")
    return root


def pixels(images: np.ndarray) -> set[bytes]:
    return {each.astype(np.uint8).tobytes() for each in images}


@pytest.mark.parametrize("seed", [0, 5])
def test_a_set_without_splits_is_judged_on_what_training_held_out(
    session: Session, undivided: Path, seed: int
) -> None:
    recipe = parse(
        {
            "data": str(undivided),
            "height": graphs.SIDE,
            "width": graphs.SIDE,
            "training": {"seed": seed},
        }
    )
    learnt = building.read_splits(recipe)
    judged = {
        name: scoring.read_set(session, undivided, name, seeds=[seed]) for name in ("test", "val")
    }

    assert len(judged["test"].labels) == 6
    for name, rows in judged.items():
        assert pixels(rows.images) == pixels(learnt[name].images)
        assert not pixels(rows.images) & pixels(learnt["train"].images)
        assert rows.classes == session.spec.classes
    assert judged["test"].name == f"{undivided.name}/test, divided by seed {seed}"


def test_all_are_all_rows_and_an_unknown_split_is_refused(
    session: Session, undivided: Path
) -> None:
    assert len(scoring.read_set(session, undivided, "all").labels) == 60
    with pytest.raises(DatasetError, match="names no splits: take train, val, test, or all"):
        scoring.read_set(session, undivided, "holdout")


def test_versions_that_divided_a_set_differently_are_not_compared_on_it(
    session: Session, undivided: Path
) -> None:
    with pytest.raises(DatasetError, match="by the seeds 1 and 2: what one held out"):
        scoring.read_set(session, undivided, "test", seeds=[2, 1, 2])
    assert len(scoring.read_set(session, undivided, "all", seeds=[1, 2]).labels) == 60


def filed(registry: Registry, made: Path, recipe: dict[str, object]) -> Version:
    fields = CardFields(lineage=Lineage(recipe=recipe))
    return registry.add("colours", made, fields, now=clock.now())


def test_the_commands_take_the_seed_from_the_card(
    undivided: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIGHTLY_HOME", str(tmp_path))
    registry = Registry(settings.load().registry)
    for gain, seed in ((1.0, 5), (2.0, 5), (3.0, 6)):
        made = graphs.write_version(tmp_path / f"gain {gain}", gain=gain)
        filed(registry, made, {"training": {"seed": seed}})
    evaluated, compared, refused = (
        CliRunner().invoke(app, [*words, "--data", str(undivided), "--json"])
        for words in (
            ["evaluate", "colours@3"],
            ["compare", "colours@1", "colours@2"],
            ["compare", "colours@1", "colours@3"],
        )
    )

    assert json.loads(evaluated.stdout)["dataset"].endswith("/test, divided by seed 6")
    assert {each["observations"] for each in json.loads(compared.stdout)} == {6}
    assert refused.exit_code == 1
    assert "by the seeds 5 and 6" in refused.stderr


def test_a_retraining_with_another_seed_keeps_the_division(
    undivided: Path, tmp_path: Path
) -> None:
    """Otherwise the next locked set would hold rows that its champion has learnt from."""
    made = graphs.write_version(tmp_path / "made", classes=sorted(graphs.CLASSES))
    registry = Registry(tmp_path / "registry")
    first = filed(registry, made, {"data": str(undivided), "training": {"seed": 5}})
    base = bases.base_of(first)
    other = {"training": {"seed": 8}, **base.origin}
    graphs.write_version(tmp_path / "made", classes=sorted(graphs.CLASSES), gain=3.0)
    again = bases.base_of(filed(registry, made, other))

    assert pixels(base.locked.images) == pixels(again.locked.images)
    assert datasets.division_seed(other) == 5


def test_a_champion_that_learnt_from_a_coco_file_finds_it_again(
    undivided: Path, tmp_path: Path
) -> None:
    paths = sorted(undivided.rglob("*.png"))
    size = {"width": graphs.SIDE, "height": graphs.SIDE}
    classes = sorted(graphs.CLASSES)
    content = {
        "images": [
            {"id": at, "file_name": str(each.relative_to(undivided)), **size}
            for at, each in enumerate(paths)
        ],
        "categories": [{"id": at, "name": name} for at, name in enumerate(classes)],
        "annotations": [
            {"image_id": at, "category_id": classes.index(each.parent.name), "bbox": [0, 0, 4, 4]}
            for at, each in enumerate(paths)
        ],
    }
    (undivided / "instances.json").write_text(json.dumps(content))
    made = graphs.write_version(tmp_path / "made", classes=classes)
    recipe = {"data": str(undivided / "instances.json"), "training": {"seed": 5}}
    base = bases.base_of(filed(Registry(tmp_path / "registry"), made, recipe))

    assert [len(each) for each in (base.training, base.validation, base.locked)] == [48, 6, 6]
    assert base.locked.masks(np.arange(6))[0].sum() == 6 * 16


def test_the_gate_is_told_only_of_groups_that_the_test_rows_have(tmp_path: Path) -> None:
    lines = ["path,label,split,group"]
    for number in range(12):
        colour = graphs.CLASSES[number % 3]
        Image.fromarray(graphs.patch(colour, number)).save(tmp_path / f"{number}.png")
        split, group = [("train", "away"), ("train", "home"), ("val", "away"), ("test", "home")][
            number // 3
        ]
        lines.append(f"{number}.png,{colour},{split},{group}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    made = graphs.write_version(tmp_path / "made", classes=sorted(graphs.CLASSES))
    champion = filed(Registry(tmp_path / "registry"), made, {"data": str(tmp_path)})
    base = bases.base_of(champion)

    assert base.training.group_names == ("away", "home")
    assert base.locked.group_names == ("home",)
    assert base.locked.groups.tolist() == [0, 0, 0]
