"""The servers under test, each a process on loopback, and the one model that they all serve."""

import io
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from urllib.request import urlopen

import numpy as np
from PIL import Image

from models.registry import Registry
from services import clock, settings
from services.commands import processes
from services.settings import Settings

MODEL = "resnet18"
CLASSES = 10
HERE = Path(__file__).parent
START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers.

    Attributes:
        port: On loopback.
        pid: Of its first process.
    """

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """Return what its processes have used of the processor so far."""
        ticks = 0
        for each in _family(self.pid):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def make_model(root: Path, *, seed: int) -> Registry:
    """Export a ResNet-18 of the default size; its weights are random, which costs the same."""
    import torch  # noqa: PLC0415 - only this part needs it

    from models import architectures, export  # noqa: PLC0415 - as above

    torch.manual_seed(seed)
    spec = architectures.default_spec(MODEL, tuple(f"class {k}" for k in range(CLASSES)))
    classifier = architectures.build(spec).eval()
    samples = np.stack([np.asarray(picture(seed + k)) for k in range(8)])
    export.export(classifier, root / "made", samples=samples)
    registry = Registry(root / "registry")
    registry.add(MODEL, root / "made", now=clock.now())
    registry.promote(MODEL, 1, reason="benchmark", actor="benchmark", now=clock.now())
    return registry


def picture(seed: int) -> Image.Image:
    """Return a 224-pixel picture with structure at several scales, as photographs have."""
    random = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(random.integers(0, 256, (size, size, 3), dtype=np.uint8)).resize(
                (224, 224), Image.Resampling.BICUBIC
            ),
            dtype=np.float32,
        )
        * weight
        for size, weight in ((7, 0.6), (28, 0.3), (112, 0.1))
    ]
    return Image.fromarray(np.clip(sum(layers), 0, 255).astype(np.uint8))


def jpeg(seed: int) -> bytes:
    """Return that picture as a JPEG file."""
    target = io.BytesIO()
    picture(seed).save(target, "JPEG", quality=90)
    return target.getvalue()


@contextmanager
def ours(home: Path, registry: Registry, *, threads: int, recording: str) -> Iterator[Running]:
    """Serve with Rightly."""
    home.mkdir(parents=True)
    port = free_port()
    chosen = Settings(
        home=home,
        registry=registry.root,
        port=port,
        default_model=MODEL,
        device="cpu",
        threads=threads,
        recording=recording,
    )
    environment = settings.serving_environment(chosen)
    code = HERE.parent.parent
    with running(processes.gateway(chosen), environment, code, port, "/readyz") as server:
        yield server


@contextmanager
def peer(registry: Registry, *, threads: int) -> Iterator[Running]:
    """Serve with FastAPI, torch and pytorch-grad-cam."""
    port = free_port()
    weights = registry.champion(MODEL).folder / "weights.safetensors"
    environment = {
        **os.environ,
        "PEER_WEIGHTS": str(weights.absolute()),
        "PEER_CLASSES": str(CLASSES),
        "PEER_THREADS": str(threads),
    }
    command = [sys.executable, "-m", "uvicorn", "peer:app", "--port", str(port), "--no-access-log"]
    with running(command, environment, HERE, port, "/docs") as server:
        yield server


@contextmanager
def running(
    command: list[str], environment: Mapping[str, str], folder: Path, port: int, path: str
) -> Iterator[Running]:
    """Run a server while the block lasts, from when it answers on `path`."""
    process = subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}{path}", process)
        yield Running(port, process.pid)
    finally:
        process.terminate()
        process.wait(timeout=60)


def free_port() -> int:
    """Return a port that nobody listens on, below those that the system gives to clients."""
    while True:
        port = secrets.randbelow(20_000) + 10_000
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _family(pid: int) -> list[int]:
    """Return a process and all that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _family(int(child)))]


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    end = monotonic() + START_SECONDS
    while monotonic() < end and process.poll() is None:
        try:
            with urlopen(url, timeout=5):  # noqa: S310 - our own address
                return
        except OSError:
            sleep(0.2)
    raise RuntimeError(f"{process.args} does not answer on {url}")
