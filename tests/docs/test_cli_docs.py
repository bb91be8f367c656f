"""What the documentation says about the command line is true: it is made from it, or run."""

import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from models import samples
from models.registry import Registry
from services.commands import cli
from services.commands import cli_reference as reference
from tests import graphs

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to" / "models.md"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
NOT_RUN_HERE = {
    "rightly models add imagenet": "exports a large network for a minute",
    "rightly models export digits 2 --bentoml": "fills BentoML's store; tested on its own",
}


def commands() -> list[str]:
    return re.findall(r"^\$ (rightly .*)$", HOW_TO.read_text("utf-8"), re.MULTILINE)


def test_the_page_of_commands_is_made_from_them() -> None:
    written = (ROOT / "docs" / "cli.md").read_text("utf-8")

    assert reference.page() == written, "python -m services.commands.cli_reference > docs/cli.md"


def test_every_command_and_option_says_what_it_is_for() -> None:
    page = reference.page()

    assert len(reference.verbs()) >= 14
    assert all(f"## `{verb}" in page for verb in reference.verbs())
    assert "None" not in page
    assert "|  |" not in page


def test_what_is_not_run_is_still_in_the_page() -> None:
    assert set(NOT_RUN_HERE) <= set(commands())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the page speaks of: `digits` in two versions, a checkpoint, photos."""
    import torch  # noqa: PLC0415 - to leave a checkpoint as somebody's training would

    from models import architectures  # noqa: PLC0415

    registry = Registry(tmp_path / "var" / "registry")
    for gain in (graphs.GAIN, graphs.GAIN / 2):
        made = graphs.write_version(tmp_path / f"{gain}", classes=("0", "1", "2"), gain=gain)
        samples.write(made, [samples.Sample(graphs.patch(each), "0") for each in graphs.CLASSES])
        registry.add("digits", made, now=NOW)
    registry.promote("digits", 1, reason="first", actor="test", now=NOW)
    spec = architectures.default_spec("small_cnn", ["cat", "dog"], height=28)
    torch.save(architectures.build(spec).state_dict(), tmp_path / "checkpoint.pt")
    (tmp_path / "photographs").mkdir()
    for number in range(20):
        image = Image.fromarray(graphs.patch(graphs.CLASSES[number % 3]))
        image.save(tmp_path / "photographs" / f"{number}.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_how_to_runs_as_it_is_written(place: Path) -> None:
    runner = CliRunner()
    for command in commands():
        if command in NOT_RUN_HERE:
            continue
        result = runner.invoke(cli.app, shlex.split(command)[1:])

        assert result.exit_code == 0, f"{command}\n{result.output}"

    registry = Registry(place / "var" / "registry")
    assert registry.models() == ["digits", "digits-copy", "pets"]
    assert registry.champion("digits").ref.version == 1
    python = re.findall(r"```python\n(.*?)```", HOW_TO.read_text("utf-8"), re.DOTALL)[0]
    done = subprocess.run(
        [sys.executable, "-c", python],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert "('0', '1', '2')" in done.stdout
