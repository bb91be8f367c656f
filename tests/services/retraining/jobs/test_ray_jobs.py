"""What Ray's answers mean to a retraining; `tests/system/test_ray.py` asks a real cluster."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from services.retraining.jobs import launching, shim
from services.retraining.jobs.launchers import (
    JobSpec,
    Key,
    LaunchError,
    LocalLauncher,
    State,
    UnreachableError,
)
from services.retraining.jobs.ray_jobs import RayLauncher
from services.settings import Settings

KEY = Key("r1/export", 2)
SPEC = JobSpec(["/bin/true"], "/some where", {"PATH": "/bin"}, 60.0)

Handler = Callable[[httpx.Request], httpx.Response]


def launcher(root: Path, handler: Handler) -> RayLauncher:
    return RayLauncher(root, "http://ray:8265", "secret", httpx.MockTransport(handler))


def answering(status: int, body: object = None) -> Handler:
    return lambda _: httpx.Response(status, json=body)


@pytest.mark.parametrize(
    ("job", "state"),
    [
        ({"status": "PENDING"}, State.PENDING),
        ({"status": "RUNNING"}, State.RUNNING),
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, State.SUCCEEDED),
        ({"status": "STOPPED"}, State.CANCELLED),
        ({"status": "FAILED", "driver_exit_code": 3}, State.FAILED),
        ({"status": "FAILED", "driver_exit_code": 124}, State.TIMEOUT),
        ({"status": "FAILED", "message": "failed to get job supervisor"}, State.LOST),
    ],
)
def test_each_of_rays_words_has_its_state(tmp_path: Path, job: dict, state: State) -> None:
    assert launcher(tmp_path, answering(200, job)).status(KEY).state is state


def test_a_cluster_that_forgot_is_not_one_that_is_silent(tmp_path: Path) -> None:
    """A head that came back without its memory knows no job; whatever else, the job may run on."""

    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    assert launcher(tmp_path, answering(404)).status(KEY).state is State.UNKNOWN
    assert launcher(tmp_path, answering(500)).status(KEY).state is State.UNREACHABLE
    found = launcher(tmp_path, silent).status(KEY)
    assert found.state is State.UNREACHABLE
    assert "no answer from Ray at http://ray:8265" in found.reason
    with pytest.raises(UnreachableError):
        launcher(tmp_path, silent).submit(KEY, SPEC)
    assert launcher(tmp_path, silent).logs(KEY, 7) == (b"", 7)


def test_the_job_keeps_the_limit_and_runs_in_its_folder(tmp_path: Path) -> None:
    seen: list[httpx.Request] = []

    def accept(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    launcher(tmp_path, accept).submit(KEY, SPEC)
    body = json.loads(seen[0].content)

    assert seen[0].headers["authorization"] == "Bearer secret"
    assert body["submission_id"] == "rightly-r1-export-2"
    assert body["entrypoint"] == (
        "cd '/some where' && exec timeout --kill-after=5.0 60.0 /bin/true"
    )
    assert (body["entrypoint_num_cpus"], body["runtime_env"]) == (
        0,
        {"env_vars": {"PATH": "/bin"}},
    )
    kept = json.loads((tmp_path / "r1/export/attempt-2" / shim.JOB).read_text())
    assert kept["environment"] is None  # nothing secret on a shared disk


@pytest.mark.parametrize(("metadata", "refused"), [("same", False), ("other", True)])
def test_what_ray_answers_500_to_may_be_there_already(
    tmp_path: Path, metadata: str, *, refused: bool
) -> None:
    told: dict[str, str] = {}

    def twice(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            told.update(json.loads(request.content)["metadata"])
            return httpx.Response(500, text="already exists")
        kept = told if metadata == "same" else {"digest": "another"}
        return httpx.Response(200, json={"status": "RUNNING", "metadata": kept})

    if refused:
        with pytest.raises(LaunchError, match="started before with another job"):
            launcher(tmp_path, twice).submit(KEY, SPEC)
    else:
        launcher(tmp_path, twice).submit(KEY, SPEC)


def test_a_job_that_was_never_taken_is_an_error(tmp_path: Path) -> None:
    def full(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500 if request.method == "POST" else 404, text="no room")

    with pytest.raises(LaunchError, match="Ray refused attempt r1/export-2: no room"):
        launcher(tmp_path, full).submit(KEY, SPEC)


def test_a_waiting_job_is_asked_to_stop_until_it_does(tmp_path: Path) -> None:
    """Ray answers that it stops a job that waits, and does nothing."""
    asked: list[str] = []

    def pending(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, json={"status": "PENDING"})

    ray = launcher(tmp_path, pending)
    ray.folder(KEY).mkdir(parents=True)
    ray.status(KEY)
    assert not any(each.endswith("/stop") for each in asked)
    ray.cancel(KEY)
    ray.status(KEY)
    ray.status(KEY)
    assert sum(each.endswith("/stop") for each in asked) == 3


def test_logs_go_on_from_a_byte(tmp_path: Path) -> None:
    ray = launcher(tmp_path, answering(200, {"logs": "première\nzweite\n"}))

    first, offset = ray.logs(KEY, 0)
    assert first.decode() == "première\nzweite\n"
    assert ray.logs(KEY, offset) == (b"", offset)
    assert ray.logs(KEY, 10) == (b"zweite\n", 17)


def test_the_setting_names_the_launcher(tmp_path: Path) -> None:
    assert isinstance(launching.of(Settings(home=tmp_path)), LocalLauncher)
    chosen = Settings(home=tmp_path, launcher="ray", ray_token="t")  # noqa: S106 - a test's
    assert launching.of(chosen) == RayLauncher(
        tmp_path / "retrainings", "http://127.0.0.1:8265", "t"
    )
    assert "'t'" not in repr(launching.of(chosen))
