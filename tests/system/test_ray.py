"""The launcher on a real Ray cluster of one node, on this machine."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep

import pytest

from services.retraining.jobs.launchers import JobSpec, Key, LaunchError, State, Status
from services.retraining.jobs.ray_jobs import RayLauncher
from tests.served import free_port

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="the extra `ray` is not installed"),
]
TOKEN = "a test's own"  # noqa: S105 - of a cluster that lives for this test


@pytest.fixture(scope="module")
def ray() -> Iterator[RayLauncher]:
    """A head on loopback; its processes end with the process that holds them together."""
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="rray-") as folder:  # short: sockets lie in it
        command = [
            *(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"),
            *("--num-cpus=1", "--object-store-memory=80000000", f"--temp-dir={folder}"),
            *("--min-worker-port=31000", "--max-worker-port=31999"),  # above those of free_port
            *("--node-ip-address=127.0.0.1", f"--port={free_port()}", "--disable-usage-stats"),
            *("--dashboard-host=127.0.0.1", f"--dashboard-port={address.split(':')[1]}"),
        ]
        environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        log = Path(folder) / "start.log"
        with log.open("wb") as sink:
            head = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink)
        launcher = RayLauncher(Path(folder) / "runs", f"http://{address}", TOKEN)
        try:
            end = monotonic() + 180
            while launcher.status(Key("none", 1)).state is not State.UNKNOWN:
                assert head.poll() is None, log.read_text()
                assert monotonic() < end, log.read_text()
                sleep(0.5)
            yield launcher
        finally:
            head.terminate()
            head.wait(60)


def job(code: str, limit: float = 120.0) -> JobSpec:
    environment = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
    return JobSpec([sys.executable, "-S", "-c", code], "/", environment, limit, 1.0)


def until(launcher: RayLauncher, key: Key, state: State, seconds: float = 150.0) -> Status:
    end = monotonic() + seconds
    while (found := launcher.status(key)).state is not state:
        assert monotonic() < end, found
        sleep(0.2)
    return found


def test_the_contract_of_a_launcher_holds_on_a_cluster(ray: RayLauncher) -> None:
    """All at once: starting a job takes seconds there."""
    good, bad, late, long = (Key(f"r{number}", 1) for number in range(4))
    ray.submit(good, job("print('ran')"))
    ray.submit(bad, job("import sys; sys.exit(3)"))
    ray.submit(late, job("import time; time.sleep(60)", limit=1.0))
    ray.submit(long, job("import time; time.sleep(60)"))
    ray.submit(good, job("print('ran')"))
    with pytest.raises(LaunchError, match="r0-1 was started before"):
        ray.submit(good, job("print('another')"))
    until(ray, long, State.RUNNING)
    ray.cancel(long)

    assert until(ray, good, State.SUCCEEDED).code == 0
    assert ray.logs(good, 0)[0].count(b"\nran\n") == 1
    assert until(ray, bad, State.FAILED).code == 3
    assert until(ray, late, State.TIMEOUT).code == 124
    until(ray, long, State.CANCELLED)
    stranger = RayLauncher(ray.root, ray.address, "another token")
    assert stranger.status(good).state is State.UNREACHABLE
