"""Kills processes of a running installation, by their part in it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Literal, TypeAlias

import httpx

from services import settings
from services.retraining.jobs import shim
from services.settings import Settings

Part: TypeAlias = Literal["runner", "auditor", "gateway", "shim", "trainer"]
_COMMANDS: dict[Part, str] = {
    "runner": "services.retraining.runner",
    "auditor": "services.auditing.auditor",
    "gateway": "_bentoml_impl.worker.service",
}


@contextmanager
def installation(chosen: Settings) -> Iterator[httpx.Client]:
    """Run `rightly serve` until the block ends; yields a client of it."""
    environment = {
        name: value
        for name, value in settings.serving_environment(chosen).items()
        if not name.startswith("RIGHTLY_TEST_")  # ours, and no setting
    }
    with (chosen.home / "serve.log").open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.commands.cli", "serve"],
            env={**environment, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"},
            stdout=sink,
            stderr=sink,
        )
    try:
        url = f"http://{chosen.host}:{chosen.port}"
        with httpx.Client(base_url=url, timeout=30.0) as client:
            while not _is_ready(client):
                assert process.poll() is None, (chosen.home / "serve.log").read_text()
                sleep(0.1)
            yield client
    finally:
        process.terminate()
        process.wait(60)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.HTTPError:
        return False


def asked(
    client: httpx.Client, verb: str, path: str, *, seconds: float = 300.0, **options: object
) -> httpx.Response:
    """Ask until somebody answers: between a worker's death and the next one nobody does."""
    end = monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.HTTPError):
            answer = client.request(verb, path, **options)
            if answer.is_success:
                return answer
        assert monotonic() < end, f"{verb} {path} was not answered within {seconds:g} s"
        sleep(0.05)


def kill(chosen: Settings, part: Part, retraining: str) -> bool:
    """Kill -9 a part; return whether it was there."""
    pid = _job(chosen, part, retraining) if part in ("shim", "trainer") else _process(chosen, part)
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def _process(chosen: Settings, part: Part) -> int | None:
    """Find the process of this home that runs the part's command."""
    ours = f"RIGHTLY_HOME={chosen.home}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes().split(b"\0")
            if _COMMANDS[part].encode() not in command:
                continue
            if ours in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
    return None


def _job(chosen: Settings, part: Part, retraining: str) -> int | None:
    """Find the newest attempt that runs, and its shim or what the shim started."""
    started = (chosen.retrainings / retraining).rglob(shim.STARTED)
    running = [each.parent for each in started if not (each.parent / shim.EXIT).exists()]
    if not running:
        return None
    newest = max(running, key=lambda each: each.stat().st_mtime)
    told = json.loads((newest / shim.STARTED).read_text())
    pid: int | None = told["shim" if part == "shim" else "child"]
    return pid if pid is not None and Path(f"/proc/{pid}").exists() else None
