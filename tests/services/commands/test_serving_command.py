"""`rightly serve` for real: a server on loopback that answers, and ends when it is told to."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from models.registry import Registry
from services import settings
from services.commands import cli, serving
from services.settings import Settings
from tests import graphs

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    registry = Registry(tmp_path / "var" / "registry")
    registry.add("tiny", graphs.write_version(tmp_path / "made"), now=NOW)
    registry.promote("tiny", 1, reason="first", actor="test", now=NOW)
    return tmp_path / "var"


@pytest.fixture
def server(
    home: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Either command in a folder of its own, where a stray package `services` lies in the way."""
    port = free_port()
    folder = home.parent / "elsewhere"
    (folder / "services").mkdir(parents=True)
    (folder / "services" / "__init__.py").write_text("raise SystemExit('the wrong package')")
    environment = os.environ | {
        "PYTHONPATH": str(serving.code_folder()),
        "RIGHTLY_HOME": "../var",
        "RIGHTLY_DEFAULT_MODEL": "tiny",
        "RIGHTLY_AUDIT_PORT": "0",
    }
    command = [
        sys.executable,
        "-P",
        "-m",
        "services.commands.cli",
        request.param,
        "--port",
        str(port),
    ]
    child = subprocess.Popen(command, env=environment, cwd=folder)
    try:
        yield child, f"http://127.0.0.1:{port}"
    finally:
        child.kill()
        child.wait()


@pytest.mark.system
@pytest.mark.slow
@pytest.mark.parametrize(
    ("server", "number"),
    [("serve", signal.SIGTERM), ("serve", signal.SIGINT), ("up", signal.SIGTERM)],
    indirect=["server"],
)
def test_serve_answers_until_a_signal_ends_it(
    server: tuple[subprocess.Popen[bytes], str], home: Path, number: int
) -> None:
    child, url = server
    image = home.parent / "image.png"
    Image.fromarray(graphs.patch("blue")).save(image)
    deadline = time.monotonic() + 60
    while True:
        assert child.poll() is None
        assert time.monotonic() < deadline
        try:
            if httpx.get(f"{url}/readyz").is_success:
                break
        except httpx.TransportError:
            time.sleep(0.2)

    answer = httpx.post(f"{url}/predict", files={"image": image.read_bytes()}).json()
    child.send_signal(number)

    assert child.wait(30) == 0
    assert answer["classes"][0]["label"] == "blue"
    assert answer["model"] == {
        "name": "tiny",
        "version": 1,
        "digest": Registry(home / "registry").champion("tiny").ref.digest,
    }
    assert (home / "journal").is_dir(), "relative settings mean the folder of the command"
    assert (home / "bentoml").is_dir()
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/livez")


def test_up_says_which_models_there_are(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGHTLY_HOME", str(home))
    monkeypatch.setenv("RIGHTLY_DEFAULT_MODEL", "absent")

    result = CliRunner().invoke(cli.app, ["up", "--port", str(free_port())])

    assert result.exit_code == 1
    assert "no model 'absent'; there are tiny" in result.output


def test_up_may_end_once_there_is_a_champion(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGHTLY_HOME", str(home))
    monkeypatch.setenv("RIGHTLY_DEFAULT_MODEL", "tiny")

    result = CliRunner().invoke(cli.app, ["up", "--only-champion"])

    assert result.exit_code == 0
    assert "tiny version 1 is the champion" in result.output


def test_a_port_that_is_taken_is_said_in_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home.parent)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        result = CliRunner().invoke(cli.app, ["serve", "--port", port])

    assert result.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_command_line_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.toml").write_text("port = 1234\nqueue = 7\n")
    monkeypatch.setenv("RIGHTLY_CONFIG", str(tmp_path / "other.toml"))
    found = serving.chosen_settings(None, 4321, None)

    assert (4321, 7) == (found.port, found.queue)


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGHTLY_PORT", "1234")

    assert serving.chosen_settings(None, 4321, None).port == 4321
    assert serving.chosen_settings("127.0.0.2", None, 2).port == 1234
    with pytest.raises(settings.SettingsError, match="port"):
        serving.chosen_settings(None, 99_999, None)


def test_a_second_server_on_one_home_is_refused_with_the_address_of_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Settings(home=tmp_path / "var", port=4001)
    second = Settings(home=tmp_path / "var", port=4002)
    with serving.alone(first):
        with pytest.raises(typer.Exit), serving.alone(second):
            pytest.fail("two servers on one home")
        said = " ".join(capsys.readouterr().err.split())
        assert "is being served already on http://127.0.0.1:4001" in said
        with serving.alone(Settings(home=tmp_path / "other", port=4002)):
            pass
    with serving.alone(second):  # the first is gone, and its address with it
        assert "http://127.0.0.1:4002\n" == (tmp_path / "var" / serving.LOCK).read_text()
