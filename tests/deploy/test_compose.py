"""What compose starts: ports of this machine alone, Alertmanager's route, the proxy in front."""

import http.server
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.served import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


def test_compose_opens_every_port_to_this_machine_alone_and_the_readme_names_it() -> None:
    ports = [port for each in COMPOSE.values() for port in each.get("ports", ())]
    readme = (DEPLOY.parent / "README.md").read_text()

    assert len(ports) == 5
    for each in ports:
        host, outer, inner = each.split(":")
        assert "127.0.0.1" == host
        assert outer == inner, "all of it shares one network"
        assert outer in readme


@pytest.mark.skipif(shutil.which("docker") is None, reason="the client of Docker is missing")
def test_compose_understands_its_file() -> None:
    command = ["docker", "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    if subprocess.run(
        ["docker", "compose", "version"], check=False, capture_output=True
    ).returncode:
        pytest.skip("this Docker has no compose")

    assert subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool (Debian) is missing")
def test_alertmanager_understands_its_file_and_sends_retraining_to_rightly() -> None:
    file = str(DEPLOY / "prometheus/alertmanager.yml")
    checked = subprocess.run(["amtool", "check-config", file], check=False, capture_output=True)
    routed = subprocess.run(
        ["amtool", "config", "routes", "test", f"--config.file={file}", "action=retrain"],
        check=True,
        capture_output=True,
        text=True,
    )

    assert checked.returncode == 0
    assert "rightly,people" == routed.stdout.strip()


@contextmanager
def upstream(name: bytes) -> Iterator[int]:
    """The port of a server that answers its name and the path that it was asked for."""

    class Named(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = name + self.path.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the tests quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Named)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def fetched(address: str) -> bytes:
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://{address}") as answer:
                return answer.read()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@pytest.mark.system
@pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy (Debian package) is missing")
def test_the_proxy_shows_rightly_and_grafana_at_one_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with upstream(b"rightly ") as rightly, upstream(b"grafana ") as grafana:
        port = free_port()
        text = (DEPLOY / "Caddyfile").read_text()
        for before, after in (("8080", port), ("3002", grafana), ("3000", rightly)):
            assert f":{before}" in text
            text = text.replace(f":{before}", f":{after}")
        (tmp_path / "Caddyfile").write_text(text.replace("localhost:", "127.0.0.1:"))
        command = ["caddy", "run", "--adapter", "caddyfile", "--config", tmp_path / "Caddyfile"]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            found = [fetched(f"127.0.0.1:{port}{path}") for path in ("/runs", "/grafana/d/a")]
        finally:
            process.terminate()
            process.wait(20)

    assert [b"rightly /runs", b"grafana /grafana/d/a"] == found
