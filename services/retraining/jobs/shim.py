"""The small parent of one local training attempt: standard library only, in a process of its own.

    python -S -E shim.py ATTEMPT-FOLDER

It holds a lock for its life, so that its being alive can be read off the lock, whatever happens to
process numbers. It starts the command of `job.json` in a process group of its own, ends it on the
`cancel` file or at the deadline, writes `exit.json`, and takes the whole group along when it ends;
the kernel ends the command where the shim itself is killed.
"""

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

JOB, STARTED, EXIT = "job.json", "started.json", "exit.json"
CANCEL, LOCK, LOG = "cancel", "lock", "log"

_LOOK_SECONDS = 0.2
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def main(folder: Path) -> None:
    """Run the attempt in `folder` to its end."""
    lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    job = json.loads((folder / JOB).read_text("utf-8"))
    if (folder / CANCEL).exists():  # cancelled before it began
        write(folder / STARTED, {"shim": os.getpid(), "child": None})
        write(folder / EXIT, {"state": "CANCELLED", "code": None})
        return
    child = _start(folder, job)
    write(folder / STARTED, {"shim": os.getpid(), "child": child.pid})
    deadline = time.monotonic() + job["limit_seconds"]
    state = None
    while child.poll() is None:
        if state is None and (folder / CANCEL).exists():
            state = "CANCELLED"
        elif state is None and time.monotonic() > deadline:
            state = "TIMEOUT"
        else:
            time.sleep(_LOOK_SECONDS)
            continue
        _end(child, job["grace_seconds"])
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # what it left behind
    ended = "SUCCEEDED" if child.returncode == 0 else "FAILED"
    write(folder / EXIT, {"state": state or ended, "code": child.returncode})


def write(path: Path, value: object) -> None:
    """Write JSON so that a reader finds all of it or nothing, also after a crash."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _start(folder: Path, job: dict[str, Any]) -> "subprocess.Popen[bytes]":
    libc = ctypes.CDLL(None)
    mother = os.getpid()

    def die_with_the_shim() -> None:
        libc.prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != mother:
            os._exit(1)

    with (folder / LOG).open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - the launcher's own command
            job["command"],
            env=job["environment"],
            cwd=job["folder"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=die_with_the_shim,  # noqa: PLW1509 - one thread here, and two system calls
        )


def _end(child: "subprocess.Popen[bytes]", grace_seconds: float) -> None:
    """Ask the group to end, and make it."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
