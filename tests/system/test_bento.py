"""The Bento: built from bentofile.yaml, and served from where BentoML put it."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests import graphs, served

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.system, pytest.mark.slow]


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """BentoML's home and the tag of a Bento in it."""
    home = tmp_path_factory.mktemp("bentoml")
    done = subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "--output", "tag"],
        env=environment(home),
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return home, done.stdout.strip().splitlines()[-1].removeprefix("__tag__:")


def environment(home: Path) -> dict[str, str]:
    return os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}


def wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while server.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError("the Bento did not come up")


def test_a_bento_holds_what_serves_and_not_what_trains(bento: tuple[Path, str]) -> None:
    home, tag = bento
    name, version = tag.split(":")
    source = home / "bentos" / name / version / "src"

    assert (source / "services" / "gateway.py").is_file()
    assert (source / "audit" / "change_control.toml").is_file()
    assert not (source / "models" / "training").exists()
    assert not (source / "tests").exists()


def test_a_bento_answers(bento: tuple[Path, str], tmp_path: Path) -> None:
    home, tag = bento
    registry = served.registry_of_colours(tmp_path)
    port = served.free_port()
    url = f"http://127.0.0.1:{port}"
    chosen = {
        "RIGHTLY_HOME": str(tmp_path),
        "RIGHTLY_REGISTRY": str(registry.root),
        "RIGHTLY_DEFAULT_MODEL": served.MODEL,
        "RIGHTLY_DEVICE": "cpu",
    }
    command = [sys.executable, "-P", "-m", "bentoml", "serve", tag, "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1"],
            env=environment(home) | chosen,
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
        try:
            wait_until_ready(url, server)
            image = io.BytesIO()
            Image.fromarray(graphs.patch("blue")).save(image, "PNG")
            answer = httpx.post(f"{url}/predict", files={"image": image.getvalue()}).json()
        finally:
            server.terminate()
            server.wait(30)

    assert answer["classes"][0]["label"] == "blue"
