"""A real server on loopback with the tiny classifier, started as a user starts it."""

import http.client
import json
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from models.registry import Registry
from services import clock, settings
from services.commands import processes
from services.settings import Settings
from services.versions import tried
from tests import graphs

MODEL = "digits"  # the name in the examples of the OpenAPI document, which a test tries
START_SECONDS = 180.0


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - whatever it holds
        return json.loads(self.body)


@dataclass(frozen=True)
class Server:
    """A running server and what is known about it."""

    port: int
    settings: Settings
    registry: Registry
    process: subprocess.Popen
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return Reply(
                answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
            )
        finally:
            connection.close()

    def post_form(self, path: str, *parts: tuple[str, bytes | str]) -> Reply:
        body, kind = form(*parts)
        return self.ask("POST", path, body, content_type=kind)

    def post_json(self, path: str, body: object) -> Reply:
        return self.ask("POST", path, json.dumps(body).encode(), content_type="application/json")


def form(*parts: tuple[str, bytes | str]) -> tuple[bytes, str]:
    """A multipart body and its type; bytes become a file part, text a field."""
    boundary = "rightly-boundary-7d81f0"
    lines = []
    for name, value in parts:
        file = (
            '; filename="image.png"\r\nContent-Type: image/png' if isinstance(value, bytes) else ""
        )
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        content = value if isinstance(value, bytes) else value.encode()
        lines.append(head.encode() + content + b"\r\n")
    return b"".join(
        lines
    ) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def registry_of_colours(root: Path, *gains: float) -> Registry:
    """One model with a version per gain, the first one champion."""
    registry = Registry(root / "registry")
    for number, gain in enumerate(gains or (graphs.GAIN,)):
        files = graphs.write_version(root / "made" / str(number), gain=gain)
        tried.remember(registry.add(MODEL, files, now=clock.now()))
    registry.promote(MODEL, 1, reason="the first one", actor="test", now=clock.now())
    return registry


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to clients meanwhile."""
    while True:
        port = secrets.randbelow(20_000) + 10_000
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def serve(home: Path, registry: Registry, **chosen: object) -> Iterator[Server]:
    """Run a server until the block ends; fails with its log where it does not come up."""
    port, log = free_port(), home / "server.log"
    options = {"default_model": MODEL, "device": "cpu", "threads": 1, **chosen}
    wanted = Settings(
        home=home, registry=registry.root, port=port, audit_port=free_port(), **options
    )
    environ = settings.serving_environment(wanted) | {"PYTHONPATH": str(Path.cwd())}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            processes.gateway(wanted), env=environ, stdout=sink, stderr=sink
        )
    server = Server(port, wanted, registry, process, log)
    try:
        _wait_until_up(server)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def auditing(server: Server) -> Iterator[None]:
    """Run the auditor beside a server until the block ends, from when its store is there."""
    environ = settings.serving_environment(server.settings) | {"PYTHONPATH": str(Path.cwd())}
    with (server.settings.home / "auditor.log").open("wb") as sink:
        companions = [
            subprocess.Popen(command, env=environ, stdout=sink, stderr=sink)
            for command in processes.companions(server.settings)
        ]
    try:
        end = monotonic() + START_SECONDS
        while server.ask("GET", "/v1/alarms").status != 200:
            assert monotonic() < end, (server.settings.home / "auditor.log").read_text()
            sleep(0.2)
        yield
    finally:
        for each in companions:
            each.terminate()
            each.wait(timeout=30)


def resident_bytes(server: Server) -> int:
    """Memory of the server's processes that is theirs alone or shared, in bytes."""
    total = 0
    for each in _family(server.process.pid):
        fields = Path(f"/proc/{each}/statm").read_text().split()
        total += int(fields[1]) * 4096
    return total


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _family(int(child)))]


def _wait_until_up(server: Server) -> None:
    end = monotonic() + START_SECONDS
    while monotonic() < end and server.process.poll() is None:
        try:
            if server.ask("GET", "/livez").status == 200:
                return
        except OSError:
            sleep(0.1)
    raise AssertionError(f"the server did not come up:\n{server.log.read_text()}")
