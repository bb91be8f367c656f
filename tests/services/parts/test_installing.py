"""uv where it can be had, pip where not, and both told the same: with real ones, offline."""

import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.parts import installing

PACKAGE = "rightly_probe"


def wheel(folder: Path, version: str) -> Path:
    """Write the smallest wheel that installers accept."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{PACKAGE}-{version}-py3-none-any.whl"
    inside = f"{PACKAGE}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{PACKAGE}.py", f"VERSION = {version!r}\n")
        head = f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {version}\n"
        file.writestr(f"{inside}/METADATA", head)
        kind = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        file.writestr(f"{inside}/WHEEL", kind)
        file.writestr(f"{inside}/RECORD", "")
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment of its own, the one that `installing` installs into; no index is asked."""
    made = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(made)], check=True)
    python = made / "bin" / "python"
    monkeypatch.setattr(installing, "_PYTHON", str(python))
    for name in ("PIP_FIND_LINKS", "PIP_CONSTRAINT", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    wheels = tmp_path / "wheels"
    for version in ("1.0", "2.0"):
        wheel(wheels, version)
    (tmp_path / "limits.txt").write_text(f"{PACKAGE}<2\n")
    (tmp_path / "pip.conf").write_text(
        f"[global]\nno-index = true\nfind-links = {wheels}\nconstraint = {tmp_path}/limits.txt\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    return python


def version_in(python: Path) -> str:
    code = f"import {PACKAGE}; print({PACKAGE}.VERSION)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def without_uv(command: Sequence[str], told: installing.Told) -> int:
    """Run commands, on a machine where uv neither is nor can be had."""
    if "uv" in command:
        return 1
    return installing.follow(command, told)


def test_pip_installs_where_uv_cannot_be_had(
    here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    lines: list[str] = []
    done = installing.install([PACKAGE], told=lines.append, run=without_uv)

    assert done, lines
    assert "1.0" == version_in(here), "pip's own configuration holds"
    assert any("pip does" in each for each in lines)


def test_uv_obeys_the_configuration_of_pip(here: Path) -> None:
    uv = [sys.executable, "-m", "uv"]
    if installing.follow([*uv, "--version"], lambda _: None):
        pytest.skip("uv is not installed here")
    lines: list[str] = []

    def run(command: Sequence[str], told: installing.Told) -> int:
        own = [str(here), "-m", "uv"]
        given = [*uv, *command[3:]] if list(command[:3]) == own else command
        return installing.follow(given, told)

    done = installing.install([PACKAGE], told=lines.append, installer="uv", run=run)

    assert done, lines
    assert "1.0" == version_in(here), lines


def test_what_cannot_be_installed_is_said(here: Path) -> None:
    lines: list[str] = []
    done = installing.install(
        ["no-such-package-of-ours"], told=lines.append, installer="pip", run=installing.follow
    )

    assert not done
    assert any("no-such-package-of-ours" in each for each in lines)
    assert version_in(here) == ""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    def handler(*args: object) -> SimpleHTTPRequestHandler:
        return Quiet(*args, directory=str(folder))

    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_torch_for_the_processor_is_taken_where_its_index_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))  # no driver of a GPU answers
    monkeypatch.setenv("no_proxy", "*")
    with served(tmp_path) as address:
        assert installing.torch_cpu_index(address) == address
        assert installing.torch_cpu_index(f"{address}/elsewhere") is None
    assert installing.torch_cpu_index(address) is None

    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\n")
    driver.chmod(0o755)
    with served(tmp_path) as address:
        assert installing.torch_cpu_index(address) is None


def test_an_installer_that_is_interrupted_takes_its_child_along() -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    seen: list[int] = []

    def told(line: str) -> None:
        seen.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        installing.follow([sys.executable, "-c", code], told)

    assert not Path(f"/proc/{seen[0]}").exists()
