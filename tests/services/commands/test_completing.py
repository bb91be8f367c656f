"""What retraining needs is installed beside serving; what was interrupted is done again."""

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.commands import cli, completing, doctor, processes
from services.console import installing as notes
from services.parts import installing, known, progress
from services.settings import Settings

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def test_it_takes_the_runners_place_among_the_companions(tmp_path: Path) -> None:
    modules = [
        [each[-1] for each in processes.companions(Settings(home=tmp_path), completing=yes)]
        for yes in (False, True)
    ]

    assert "services.retraining.runner" in modules[0]
    assert ["services.auditing.auditor", "services.commands.completing"] == modules[1]


def test_nothing_is_installed_where_nothing_is_missing(tmp_path: Path) -> None:
    assert completing.complete(tmp_path)
    assert progress.read(tmp_path) is None


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retraining needs a package that no index has."""
    monkeypatch.setattr(known, "requirements", lambda _extra: ["no-such-package-of-ours"])
    monkeypatch.setattr(installing, "torch_cpu_index", lambda: None)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")


@pytest.mark.usefixtures("lacking")
def test_what_cannot_be_installed_is_said_with_the_command(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert not completing.complete(tmp_path)

    found = progress.read(tmp_path)
    assert found is not None
    assert found.state == "failed"
    assert "rightly install retraining" in found.said
    assert "retraining: not installed after" in capfd.readouterr().err
    assert "rightly install retraining" in str(notes.note(tmp_path))


def test_an_installation_that_was_interrupted_is_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(known, "damaged", lambda: ["torch"])
    monkeypatch.setattr(completing, "_installed", lambda _extra, again: not asked.append(again))
    for state in ("installing", "interrupted"):
        progress.write(tmp_path, state, now=NOW)
        assert completing.complete(tmp_path)

    assert [["torch"], ["torch"]] == asked
    assert "ready" == getattr(progress.read(tmp_path), "state", None)


def test_a_signal_ends_it_and_is_remembered(tmp_path: Path) -> None:
    code = (
        "import signal, sys, pathlib\n"
        "from services.commands import completing\n"
        "from services.parts import installing, known\n"
        "known.missing = lambda _extra: ['torch']\n"
        "def endless(command, told):\n"
        "    sleeping = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        "    return installing.follow(sleeping, told)\n"
        "installing.torch_cpu_index = lambda: print('begun', flush=True)\n"
        "installing.follow_gently = endless\n"
        "signal.signal(signal.SIGTERM, completing._leave)\n"
        f"completing.complete(pathlib.Path({str(tmp_path)!r}))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    child.send_signal(signal.SIGTERM)
    child.stdout.close()

    assert child.wait(30) == 128 + signal.SIGTERM
    assert "interrupted" == getattr(progress.read(tmp_path), "state", None)


def test_the_note_says_when_and_goes_once_it_is_ready(tmp_path: Path) -> None:
    assert notes.note(tmp_path) is None
    progress.write(tmp_path, "installing", now=datetime.now(tz=UTC))
    assert "ready in about a minute" in str(notes.note(tmp_path))
    progress.write(tmp_path, "installing", now=datetime.now(tz=UTC) - timedelta(minutes=5))
    assert "ready soon" in str(notes.note(tmp_path))
    progress.write(tmp_path, "ready", now=NOW)
    assert notes.note(tmp_path) is None
    (tmp_path / "retraining-part.json").write_text("{")
    assert notes.note(tmp_path) is None


def test_the_doctor_names_what_is_missing_and_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = {"": ["numpy>=2"], "dicom": ["no-such-package-of-ours>=1"]}
    monkeypatch.setattr(known, "requirements", lambda extra: lists.get(extra, []))
    monkeypatch.setenv("RIGHTLY_HOME", str(tmp_path / "var"))

    result = CliRunner().invoke(cli.app, ["doctor", "--json"])
    found = {each["what"]: each for each in json.loads(result.stdout)}

    assert result.exit_code == 0
    assert found["dicom"]["state"] == "missing"
    assert "no-such-package-of-ours" in found["dicom"]["told"]
    assert found["dicom"]["command"] == "rightly install dicom"
    assert found["serving"]["state"] == "there"
    assert not (tmp_path / "var").exists(), "looking leaves nothing behind"


def test_the_doctor_ends_with_status_1_where_serving_lacks_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "runtimes", lambda: ["onnxruntime", "onnxruntime-gpu"])
    monkeypatch.setenv("RIGHTLY_HOME", str(tmp_path))

    assert CliRunner().invoke(cli.app, ["doctor"]).exit_code == 1
    assert any(each.state == "wrong" for each in doctor.examined(Settings(home=tmp_path)))


def test_an_unknown_part_is_refused_in_one_line() -> None:
    result = CliRunner().invoke(cli.app, ["install", "torch"])

    assert result.exit_code == 1
    assert "there are retraining, imagenet" in result.stderr
