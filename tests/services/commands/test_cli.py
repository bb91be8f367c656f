"""The command line on the tiny model: what people see, what programs read, how errors look."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from models import samples
from models.registry import Registry
from services.commands import cli
from tests import graphs

NOW = datetime(2026, 11, 21, tzinfo=UTC)
Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A version's folder with three samples, one of them with a region."""
    made = graphs.write_version(tmp_path / "made")
    region = np.zeros((graphs.SIDE, graphs.SIDE), bool)
    region[:4, :4] = True
    samples.write(
        made,
        [
            samples.Sample(graphs.patch("red"), "red", region),
            samples.Sample(graphs.patch("green"), "green"),
            samples.Sample(graphs.patch("blue"), "blue"),
        ],
    )
    return made


@pytest.fixture
def registry(tmp_path: Path, folder: Path) -> Registry:
    """Two versions of `tiny`, the first one the champion."""
    there = Registry(tmp_path / "var" / "registry")
    there.add("tiny", folder, now=NOW)
    weak = shutil.copytree(folder, tmp_path / "weak")
    graphs.write_version(weak, gain=1.0)
    there.add("tiny", weak, now=NOW)
    there.promote("tiny", 1, reason="first", actor="test", now=NOW)
    return there


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `rightly …` in an empty folder, with its home beside it."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    runner = CliRunner(
        env={
            "RIGHTLY_HOME": str(tmp_path / "var"),
            "RIGHTLY_DEFAULT_MODEL": "tiny",
            "COLUMNS": "200",
        }
    )

    def invoke(*words: object, status: int = 0) -> Result:
        result = runner.invoke(cli.app, [str(word) for word in words])
        assert result.exit_code == status, result.output
        return result

    return invoke


def image(path: Path, colour: str = "red") -> Path:
    Image.fromarray(graphs.patch(colour)).save(path)
    return path


def test_an_empty_registry_says_what_to_do(run: Run) -> None:
    assert "rightly up" in run("models", "list").output
    assert json.loads(run("models", "list", "--json").output) == []


def test_models_list_marks_the_champion(run: Run, registry: Registry) -> None:
    rows = json.loads(run("models", "list", "--json").output)

    assert [(1, True), (2, False)] == [(row["version"], row["champion"]) for row in rows]
    assert registry.version("tiny", 2).ref.digest == rows[1]["digest"]
    assert "tests.graphs:tiny" in run("models", "list", "tiny").output


def test_models_show_prints_the_card(run: Run, registry: Registry) -> None:
    card = registry.version("tiny", 2).card

    assert card.as_json() == json.loads(run("models", "show", "tiny", 2, "--json").output)
    shown = run("models", "show", "tiny").output
    assert registry.version("tiny", 1).ref.digest in shown
    assert "promote → 1" in shown


def test_models_promote_and_rollback_move_the_champion(run: Run, registry: Registry) -> None:
    assert "before: 1" in run("models", "promote", "tiny", 2, "--reason", "better").output
    assert registry.champion("tiny").ref.version == 2

    assert "version 1 answers again" in run("models", "rollback", "tiny", "--reason", "no").output
    assert ["first", "better", "no"] == [move.reason for move in registry.history("tiny")]
    assert all(move.actor for move in registry.history("tiny"))


def test_a_move_that_somebody_else_forestalled_is_refused(run: Run, registry: Registry) -> None:
    words = ("models", "promote", "tiny", 2, "--reason", "better", "--expected", 2)

    assert "moved meanwhile" in run(*words, status=1).stderr
    assert registry.champion("tiny").ref.version == 1


def test_the_first_version_of_a_model_answers_and_the_second_waits(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    there = Registry(tmp_path / "var" / "registry")
    run("models", "add", folder, "--name", "new")
    graphs.write_version(folder, gain=1.0)
    second = run("models", "add", folder, "--name", "new")

    assert there.champion("new").ref.version == 1
    assert "rightly models promote new 2" in second.output
    run("models", "add", folder, "--name", "other", "--no-promote")
    assert there.pointer("other").version is None


def test_an_archive_goes_out_and_comes_in(run: Run, registry: Registry) -> None:
    run("models", "export", "tiny", 2, "--to", "tiny.tar")
    run("models", "import", "tiny.tar", "--name", "copy", "--promote")
    run("models", "export", "tiny")

    assert registry.version("tiny", 2).ref.digest == registry.champion("copy").ref.digest
    assert Path("tiny-1.rightly.tar").is_file()
    assert "exists already" in run("models", "export", "tiny", status=1).stderr


def test_models_verify_tells_a_changed_file(run: Run, registry: Registry) -> None:
    assert "all 8 files as filed" in run("models", "verify", "tiny").output
    path = registry.version("tiny", 1).folder / "weights.safetensors"
    path.chmod(0o644)
    path.write_bytes(b"changed")

    assert "weights.safetensors has changed" in run("models", "verify", "tiny", status=1).stderr
    assert "has changed" in run("predict", image(Path("a.png")), status=1).stderr


def test_predict_classifies_and_draws(run: Run, registry: Registry) -> None:
    shown = run("predict", image(Path("a.png")), "--save", "overlay.png").output

    assert "red 63.7%" in shown
    assert registry.champion("tiny").card.spec.classes[0] in shown
    overlay = np.asarray(Image.open("overlay.png")).astype(int)
    assert overlay.shape[0] == overlay.shape[1] >= 224
    drawn = np.abs(overlay - np.asarray(Image.open("a.png").resize(overlay.shape[:2], 0))).sum(2)
    corner, rest = drawn[:40, :40].mean(), drawn[120:, 120:].mean()
    assert corner > 100, "the heatmap lies on the patch"
    assert rest < 10, "and nowhere else"


def test_predict_answers_programs_in_json(run: Run, registry: Registry) -> None:
    words = ("predict", image(Path("a.png"), "blue"), "--json", "--top", 2, "--version", 2)
    (answer,) = json.loads(run(*words).output)

    assert answer["file"] == "a.png"
    assert registry.version("tiny", 2).ref.digest == answer["model"]["digest"]
    assert ["blue"] == [answer["classes"][0]["label"]]
    assert len(answer["classes"]) == 2
    assert [4, 4] == answer["explanation"]["shape"]
    assert np.max(answer["explanation"]["grid"]) == 1


@pytest.mark.parametrize("explainer", ["input_gradients", "smoothgrad", "lrp"])
def test_predict_explains_by_other_means_and_another_class(
    run: Run, registry: Registry, explainer: str
) -> None:
    words = ("predict", image(Path("a.png")), "--explainer", explainer, "--target", "green")
    (answer,) = json.loads(run(*words, "--json").output)

    assert {"label": "green", "index": 1} == answer["explanation"]["target"]
    assert registry.champion("tiny").card.spec.preprocessing.height == 16
    assert [16, 16] == answer["explanation"]["shape"]


def test_predict_takes_many_files_and_draws_each(run: Run, registry: Registry) -> None:
    Path("sub").mkdir()
    files = [image(Path(f"{n:02d}.png"), graphs.CLASSES[n % 3]) for n in range(40)]
    files.append(image(Path("sub/00.png"), "green"))

    answers = json.loads(run("predict", *files, "--save", "drawn", "--json").output)

    assert [*(graphs.CLASSES[n % 3] for n in range(40)), "green"] == [
        each["classes"][0]["label"] for each in answers
    ]
    assert len(list(Path("drawn").iterdir())) == len(files)
    assert registry.models() == ["tiny"]


def test_samples_are_listed_and_written(run: Run, registry: Registry) -> None:
    shown = run("samples", "--to", "tried").output

    assert {"00.png", "00.region.png", "01.png", "02.png"} == {
        each.name for each in Path("tried").iterdir()
    }
    assert (
        "curl -F image=@tried/00.png -F region=@tried/00.region.png http://127.0.0.1:3000" in shown
    )
    for number, colour in enumerate(graphs.CLASSES):
        words = ("predict", f"tried/{number:02d}.png", "--json")
        assert json.loads(run(*words).output)[0]["classes"][0]["label"] == colour
    assert registry.models() == ["tiny"]


def broken(path: Path) -> Path:
    path.write_bytes(image(path).read_bytes()[:60])
    return path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("models", "show", "absent"), "no model 'absent'; there are tiny"),
        (("models", "show", "tiny", 9), "there are 1, 2"),
        (("models", "show", "../x"), "cannot name a model"),
        (("models", "import", "absent.tar"), "No such file"),
        (("models", "import", "a.png"), "no archive of a version"),
        (("models", "add", "nowhere"), "is no folder"),
        (("models", "rollback", "tiny", "--reason", "x"), "no earlier champion"),
        (("predict", "absent.png"), "absent.png: No such file"),
        (("predict", "broken.png"), "broken.png: "),
        (("predict", "text.png"), "text.png: "),
        (("predict", "a.png", "--model", "absent"), "no model 'absent'"),
        (("predict", "a.png", "--explainer", "anchors"), "there are gradcam"),
        (("predict", "a.png", "--target", "violet"), "red, green, blue"),
        (("predict", "a.png", "--save", "nowhere/a.png"), "cannot write"),
        (("samples", "--model", "absent"), "no model 'absent'"),
    ],
)
def test_what_is_refused_is_said_in_one_line(
    run: Run, registry: Registry, words: tuple[object, ...], message: str
) -> None:
    image(Path("a.png"))
    broken(Path("broken.png"))
    Path("text.png").write_text("[bold]not an image[/]")

    result = run(*words, status=1)

    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.output
    assert registry.champion("tiny").ref.version == 1


def test_a_wrong_setting_is_said_in_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGHTLY_PROT", "1")

    assert "did you mean port" in run("models", "list", status=1).stderr


@pytest.mark.parametrize("words", [("fly",), ("models", "promote", "tiny", 1), ("predict",)])
def test_a_wrong_use_ends_with_status_two(run: Run, words: tuple[object, ...]) -> None:
    assert "Usage" in run(*words, status=2).stderr


def test_a_fault_of_ours_is_not_dressed_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(_self: Registry) -> list[str]:
        raise ZeroDivisionError

    monkeypatch.setattr(Registry, "models", fault)

    assert isinstance(run("models", "list", status=1).exception, ZeroDivisionError)


def weights(path: Path) -> Path:
    """Weights of the small CNN, as somebody's training left them."""
    import torch  # noqa: PLC0415 - only two tests need it

    from models import architectures  # noqa: PLC0415

    torch.manual_seed(0)
    spec = architectures.default_spec("small_cnn", ["cat", "dog"], height=28, width=28)
    classifier = architectures.build(spec)
    architectures.save_weights(classifier, path)
    torch.save({"state_dict": classifier.state_dict()}, path.with_suffix(".pt"))
    return path


@pytest.mark.slow
def test_export_turns_weights_into_a_version_that_answers(run: Run, tmp_path: Path) -> None:
    from safetensors.numpy import load_file  # noqa: PLC0415 - one use

    given = weights(Path("trained.safetensors"))
    run("models", "convert", "trained.pt", "converted.safetensors")
    Path("labels.txt").write_text("\ufeffcat\ndog\n")
    words = ("--architecture", "small_cnn", "--name", "pets", "--height", 28)
    run("export", given, *words, "--classes", "cat,dog", "--note", "by hand")
    Path("photographs").mkdir()
    for number in range(20):
        image(Path(f"photographs/{number}.png"), graphs.CLASSES[number % 3])
    again = ("export", "converted.safetensors", *words, "--classes", "labels.txt")
    run(*again, "--samples", "photographs")

    registry = Registry(tmp_path / "var" / "registry")
    generated, real = registry.versions("pets")
    assert registry.champion("pets") == generated
    assert generated.card.spec == real.card.spec
    assert "by hand" in generated.card.fields.note
    assert generated.card.fields.parity is not None
    assert real.card.fields.parity is not None
    assert "generated" in str(generated.card.fields.parity["samples"])
    assert real.card.fields.parity["samples"] == "photographs"
    kept = load_file(generated.folder / "weights.safetensors")
    assert all(np.array_equal(kept[name], each) for name, each in load_file(given).items())
    (answer,) = json.loads(run("predict", "photographs/0.png", "--model", "pets", "--json").output)
    assert {"cat", "dog"} == {each["label"] for each in answer["classes"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trained.safetensors", "--classes", "a,b,c"), "fc"),
        (("trained.pt", "--classes", "a,b,c"), "has 2 outputs, but 3 classes are named"),
        (("trained.pt", "--classes", "cat,dog", "--mean", "1,2"), "three numbers"),
        (("trained.pt", "--classes", "cat,dog", "--outputs", "findings"), "exclude each other"),
        (
            ("trained.pt", "--classes", ", ".join(f"a breed of number {k}" for k in range(37))),
            "37",
        ),
        (("trained.safetensors", "--classes", "labels.txt"), "no file labels.txt"),
        (("trained.safetensors", "--classes", "cat,cat"), "two different classes"),
        (("trained.safetensors", "--classes", "cat,dog", "--samples", "."), "no images in"),
    ],
)
def test_export_names_what_does_not_fit(
    run: Run, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    weights(Path("trained.safetensors"))
    given = ("export", *words, "--architecture", "small_cnn", "--name", "pets", "--height", 28)

    assert message in run(*given, status=1).stderr
    assert Registry(tmp_path / "var" / "registry").models() == []


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_help_does_not_wait_for_what_the_commands_need() -> None:
    """A second and more of imports, of which the listing needs none."""
    heavy = {"torch", "onnxruntime", "bentoml", "fastapi", "numpy", "sqlalchemy", "pydantic"}
    asking = "import contextlib, io; from services.commands import cli\n"
    asking += "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
    asking += "    cli.app(['--help'])\nprint(end='')"

    assert heavy & loaded_after(asking) == set()
    assert heavy & loaded_after("import services.gateway"), "the check above can fail"


def test_the_listing_shows_the_first_line_of_each_verbs_own_help(run: Run) -> None:
    for above, group in (("", typer.main.get_command(cli.app)), *cli.GROUPS.items()):
        shown = " ".join(run(*filter(None, [above]), "--help").stdout.split())

        for name, verb in group.commands.items():
            line = verb.help.partition("\n")[0]
            assert group.verbs.line(name) == line
            assert f"{name} {line[:30].rpartition(' ')[0]}" in shown


def test_a_verb_that_is_not_there_is_met_with_what_is_close(run: Run) -> None:
    assert "Did you mean 'rollback'?" in run("rolback", status=2).stderr
    assert "Did you mean 'promote'?" in run("models", "promot", status=2).stderr


@pytest.mark.slow
def test_a_classifier_trained_by_others_is_added_by_one_command(run: Run) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    run("models", "add", "imagenet", "--no-promote")
    image(Path("a.png"))

    (answer,) = json.loads(
        run("predict", "a.png", "--model", "imagenet", "--version", 1, "--json").output
    )
    card = json.loads(run("models", "show", "imagenet", 1, "--json").output)

    assert len(card["spec"]["classes"]) == 1000
    assert card["parity"]["decided"] == 1
    assert "generated" in card["parity"]["samples"]
    assert [7, 7] == answer["explanation"]["shape"]
