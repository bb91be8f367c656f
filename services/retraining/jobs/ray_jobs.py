"""Training attempts as jobs of a Ray cluster, over its Jobs REST interface.

Nothing of Ray is imported: a runner needs an address and a token, no more. The cluster's head runs
the same image as the runner and sees the same folder of retrainings, as the attempt reads its data
there and leaves its checkpoints, its progress and its weights there.

    <root>/<retraining>/attempt-<n>/   job.json  cancel   and what the training writes

Ray starts a job of one id once, however often it is asked; a job that waits cannot be stopped
there, so the `cancel` mark is looked at again at every question. A time limit is kept by
`timeout` of coreutils, whose end takes the command along.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from services.retraining.jobs import shim
from services.retraining.jobs.launchers import (
    JobSpec,
    Key,
    LaunchError,
    State,
    Status,
    UnreachableError,
    digest,
)

_TIMED_OUT = 124  # what `timeout` answers
_CHUNK = 256 * 1024
_SECONDS = 60.0  # of one question to the cluster
_STATES: Mapping[str, State] = {
    "PENDING": State.PENDING,
    "RUNNING": State.RUNNING,
    "STOPPED": State.CANCELLED,
    "SUCCEEDED": State.SUCCEEDED,
}


@dataclass(frozen=True, slots=True)
class RayLauncher:
    """Attempts as jobs of a Ray cluster.

    Attributes:
        root: Folder of all attempts, the same for the cluster.
        address: Of the cluster's dashboard, for example "http://ray-head:8265".
        token: Bearer token of the cluster; "" for a cluster without one.
        transport: How to get there; None for the network.
    """

    root: Path
    address: str
    token: str = field(default="", repr=False)
    transport: httpx.BaseTransport | None = None

    def folder(self, key: Key) -> Path:
        """Return the attempt's folder."""
        return self.root / key.retraining / f"attempt-{key.attempt}"

    def submit(self, key: Key, spec: JobSpec) -> None:
        """Ask the cluster to start the attempt; a second call with the same spec does nothing.

        Raises:
            LaunchError: If it was started before with another spec, or the cluster refuses it.
            UnreachableError: If the cluster does not answer.
        """
        folder, name, named = self.folder(key), _name(key), digest(spec.command)
        folder.mkdir(parents=True, exist_ok=True)
        told = {**asdict(spec), "command": list(spec.command), "digest": named}
        shim.write(folder / shim.JOB, told | {"environment": None})
        answer = self._ask("POST", "/api/jobs/", {
            "submission_id": name,
            "entrypoint": _entrypoint(spec),
            "entrypoint_num_cpus": 0,  # a job that waits for a core cannot be cancelled
            "runtime_env": {"env_vars": dict(spec.environment)},
            "metadata": {"digest": named},
        })  # fmt: skip
        if answer.is_success:
            return
        # The same id asked for twice is answered 500: what counts is what is there.
        known = self._ask("GET", f"/api/jobs/{name}")
        if not known.is_success:
            raise LaunchError(f"Ray refused attempt {key}: {answer.text[-500:]}")
        if (known.json().get("metadata") or {}).get("digest") != named:
            raise LaunchError(f"attempt {key} was started before with another job")

    def status(self, key: Key) -> Status:
        """Ask the cluster where the attempt stands; ask it again to end what shall end."""
        try:
            answer = self._ask("GET", f"/api/jobs/{_name(key)}")
        except UnreachableError as error:
            return Status(State.UNREACHABLE, reason=str(error))
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return Status(State.UNKNOWN, reason="no such job in the cluster")
        if not answer.is_success:
            return Status(State.UNREACHABLE, reason=f"the cluster answers {answer.status_code}")
        found = _status(answer.json())
        if not found.state.ended and (self.folder(key) / shim.CANCEL).exists():
            self._stop(key)
        return found

    def cancel(self, key: Key) -> None:
        """Leave the mark, and ask the cluster to stop the job if it runs."""
        folder = self.folder(key)
        if folder.is_dir():
            (folder / shim.CANCEL).touch()
            self._stop(key)

    def logs(self, key: Key, offset: int) -> tuple[bytes, int]:
        """Return the output from byte `offset` on, at most 256 KiB, and where to go on."""
        try:
            answer = self._ask("GET", f"/api/jobs/{_name(key)}/logs")
        except UnreachableError:
            return b"", offset
        if not answer.is_success:
            return b"", offset
        part = str(answer.json()["logs"]).encode()[offset : offset + _CHUNK]
        return part, offset + len(part)

    def _stop(self, key: Key) -> None:
        try:
            self._ask("POST", f"/api/jobs/{_name(key)}/stop")
        except UnreachableError:
            return  # asked again with the next question

    def _ask(self, verb: str, path: str, body: Any = None) -> httpx.Response:  # noqa: ANN401 - JSON
        named = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            with httpx.Client(
                base_url=self.address, headers=named, timeout=_SECONDS, transport=self.transport
            ) as client:
                return client.request(verb, path, json=body)
        except httpx.HTTPError as error:
            raise UnreachableError(f"no answer from Ray at {self.address}: {error}") from error


def _name(key: Key) -> str:
    return f"rightly-{key.retraining.replace('/', '-')}-{key.attempt}"


def _entrypoint(spec: JobSpec) -> str:
    """Return the command line that keeps the time limit and runs in the spec's folder."""
    limit = ["timeout", f"--kill-after={spec.grace_seconds}", f"{spec.limit_seconds}"]
    return f"cd {shlex.quote(spec.folder)} && exec {shlex.join([*limit, *spec.command])}"


def _status(told: Mapping[str, Any]) -> Status:
    """Return what Ray's words mean.

    A job whose supervisor is gone is lost, not failed: it never ended by itself.
    """
    word, code = str(told.get("status")), told.get("driver_exit_code")
    reason = str(told.get("message") or "")[-500:]
    if word in _STATES:
        state = _STATES[word]
        return Status(state, 0 if state is State.SUCCEEDED else code)
    if code is None:
        return Status(State.LOST, reason=reason)
    if code == _TIMED_OUT:
        return Status(State.TIMEOUT, code, "it took longer than it may")
    return Status(State.FAILED, code, json.dumps(reason) if "\n" in reason else reason)
