"""The contract of a launcher, on every one that there is; faults included."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

import pytest

from services.retraining import streaming
from services.retraining.jobs import shim
from services.retraining.jobs.launchers import (
    JobSpec,
    Key,
    LaunchError,
    LocalLauncher,
    State,
    Status,
    end_all,
    pages,
)

KEY = Key("r1", 1)


@pytest.fixture
def launcher(tmp_path: Path) -> LocalLauncher:
    return LocalLauncher(tmp_path / "runs", pending_seconds=5.0)


def job(code: str, *, limit: float = 60.0, grace: float = 0.5) -> JobSpec:
    environment = {"PATH": os.defpath, "PYTHONUNBUFFERED": "1"}
    return JobSpec([sys.executable, "-S", "-c", code], "/", environment, limit, grace)


def until(launcher: LocalLauncher, *wanted: State, seconds: float = 20.0) -> Status:
    end = monotonic() + seconds
    while (found := launcher.status(KEY)).state not in wanted:
        assert monotonic() < end, found
        sleep(0.02)
    return found


def started(launcher: LocalLauncher) -> dict[str, int]:
    until(launcher, State.RUNNING)
    return json.loads((launcher.folder(KEY) / shim.STARTED).read_text())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(*pids: int) -> bool:
    end = monotonic() + 5
    while any(map(is_alive, pids)) and monotonic() < end:
        sleep(0.02)
    return not any(map(is_alive, pids))


SLEEPS = "import time; print('up'); time.sleep(60)"


def test_an_attempt_that_nobody_launched_is_unknown(launcher: LocalLauncher) -> None:
    assert launcher.status(KEY).state is State.UNKNOWN
    assert launcher.logs(KEY, 0) == (b"", 0)
    launcher.cancel(KEY)


@pytest.mark.parametrize(("code", "state"), [(0, State.SUCCEEDED), (3, State.FAILED)])
def test_the_exit_code_and_the_output_are_kept(
    launcher: LocalLauncher, code: int, state: State
) -> None:
    launcher.submit(KEY, job(f"import sys; print('one'); print('two'); sys.exit({code})"))

    assert until(launcher, state) == Status(state, code)
    first, offset = launcher.logs(KEY, 0)
    assert first == b"one\ntwo\n"
    assert launcher.logs(KEY, offset) == (b"", offset)
    assert launcher.logs(KEY, 4) == (b"two\n", 8)


def test_submitting_again_changes_nothing_and_another_job_is_refused(
    launcher: LocalLauncher,
) -> None:
    launcher.submit(KEY, job("print('ran')"))
    until(launcher, State.SUCCEEDED)
    launcher.submit(KEY, job("print('ran')"))

    assert launcher.logs(KEY, 0)[0] == b"ran\n"
    with pytest.raises(LaunchError, match="r1-1 was started before"):
        launcher.submit(KEY, job("print('another')"))


def test_many_submitters_of_one_key_start_one_run(launcher: LocalLauncher) -> None:
    threads = [
        threading.Thread(target=launcher.submit, args=(KEY, job("print('ran')"))) for _ in range(8)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    until(launcher, State.SUCCEEDED)

    assert launcher.logs(KEY, 0)[0] == b"ran\n"


def test_polling_never_mistakes_a_starting_shim_for_a_lost_one(launcher: LocalLauncher) -> None:
    """Exclusive probes made the shim fail on its own lock, and early ones said LOST."""
    seen: set[State] = set()
    stop = threading.Event()

    def poll() -> None:
        while not stop.is_set():
            seen.update(launcher.status(Key("r1", n)).state for n in range(1, 6))

    pollers = [threading.Thread(target=poll) for _ in range(2)]
    for each in pollers:
        each.start()
    for number in range(1, 6):
        launcher.submit(Key("r1", number), job("print('ran')"))
    end = monotonic() + 30
    keys = [Key("r1", number) for number in range(1, 6)]
    while not all(launcher.status(key).state.ended for key in keys) and monotonic() < end:
        sleep(0.05)
    stop.set()
    for each in pollers:
        each.join()

    assert {launcher.status(key).state for key in keys} == {State.SUCCEEDED}
    assert State.LOST not in seen


def test_a_cancelled_attempt_ends_soon_also_when_it_ignores_the_request(
    launcher: LocalLauncher,
) -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1); time.sleep(60)"
    launcher.submit(KEY, job(stubborn))
    pids = started(launcher)
    while not launcher.logs(KEY, 0)[0]:
        sleep(0.02)
    launcher.cancel(KEY)
    launcher.cancel(KEY)

    assert until(launcher, State.CANCELLED, seconds=10).code == -signal.SIGKILL
    assert gone(pids["shim"], pids["child"])


def test_an_attempt_cancelled_before_its_shim_looked_never_runs(launcher: LocalLauncher) -> None:
    folder = launcher.folder(KEY)
    folder.mkdir(parents=True)
    shim.write(folder / shim.JOB, {"command": ["/bin/false"]})
    (folder / shim.CANCEL).touch()
    subprocess.run([sys.executable, "-S", "-E", shim.__file__, str(folder)], check=True)

    assert launcher.status(KEY).state is State.CANCELLED


def test_an_attempt_over_its_limit_is_ended(launcher: LocalLauncher) -> None:
    launcher.submit(KEY, job(SLEEPS, limit=0.3))

    assert until(launcher, State.TIMEOUT).code == -signal.SIGTERM


def test_a_killed_command_has_failed(launcher: LocalLauncher) -> None:
    launcher.submit(KEY, job(SLEEPS))
    os.kill(started(launcher)["child"], signal.SIGKILL)

    assert until(launcher, State.FAILED) == Status(State.FAILED, -signal.SIGKILL)


def test_a_killed_shim_is_lost_and_takes_its_command_along(launcher: LocalLauncher) -> None:
    launcher.submit(KEY, job(SLEEPS))
    pids = started(launcher)
    os.kill(pids["shim"], signal.SIGKILL)

    assert until(launcher, State.LOST).reason == "the shim was killed"
    assert gone(pids["child"])


def test_what_the_command_left_behind_ends_with_it(launcher: LocalLauncher) -> None:
    code = (
        "import subprocess, sys; "
        f"child = subprocess.Popen([sys.executable, '-S', '-c', {SLEEPS!r}]); print(child.pid)"
    )
    launcher.submit(KEY, job(code))
    until(launcher, State.SUCCEEDED)

    assert gone(int(launcher.logs(KEY, 0)[0].split()[0]))


def test_a_claimed_folder_without_a_shim_is_pending_and_then_lost(tmp_path: Path) -> None:
    launcher = LocalLauncher(tmp_path, pending_seconds=0.3)
    launcher.folder(KEY).mkdir(parents=True)

    assert launcher.status(KEY).state is State.PENDING
    assert until(launcher, State.LOST).reason == "the shim never started"


def test_the_attempt_is_nobodys_child(launcher: LocalLauncher) -> None:
    """BentoML ends the children of a worker that stops; an attempt must outlive it."""
    launcher.submit(KEY, job(SLEEPS))
    shim_pid = started(launcher)["shim"]
    family = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()

    assert str(shim_pid) not in family
    assert os.getsid(shim_pid) != os.getsid(0)
    launcher.cancel(KEY)
    until(launcher, State.CANCELLED)


def test_a_changed_setting_or_path_is_the_same_job(launcher: LocalLauncher) -> None:
    """The runner was updated, moved and given another limit while the training ran."""
    first = job("import time; print('ran'); time.sleep(1)")
    launcher.submit(KEY, first)
    elsewhere = replace(
        first,
        command=["/usr/local/bin/python9", *first.command[1:]],
        folder="/elsewhere",
        limit_seconds=first.limit_seconds * 2,
        grace_seconds=1.0,
    )
    launcher.submit(KEY, elsewhere)
    until(launcher, State.SUCCEEDED)
    launcher.submit(KEY, elsewhere)

    assert b"ran\n" == launcher.logs(KEY, 0)[0]


def test_a_job_of_an_earlier_program_is_known_again(launcher: LocalLauncher) -> None:
    launcher.submit(KEY, job("print('ran')"))
    until(launcher, State.SUCCEEDED)
    path = launcher.folder(KEY) / shim.JOB
    path.write_text(json.dumps({**json.loads(path.read_text()), "digest": "made otherwise"}))

    launcher.submit(KEY, job("print('ran')"))
    with pytest.raises(LaunchError):
        launcher.submit(KEY, job("print('another')"))


def test_long_logs_are_paged_to_their_end(launcher: LocalLauncher) -> None:
    launcher.submit(KEY, job("for n in range(60_000): print('line é', n)"))
    until(launcher, State.SUCCEEDED)
    first, _ = launcher.logs(KEY, 0)
    parts = [part for part, _ in pages(launcher, KEY, 0)]
    whole = b"".join(parts).decode()

    assert len(first) == 256 * 1024
    assert len(parts) > 2
    assert 60_000 == len(whole.splitlines())
    assert whole.endswith("line é 59999\n")
    assert [] == [*pages(launcher, KEY, len(whole.encode()))]


def test_the_stream_of_a_long_log_has_every_line_whole(launcher: LocalLauncher) -> None:
    launcher.submit(KEY, job("print('\\n'.join(f'line é {n}' for n in range(60_000)), end='')"))
    until(launcher, State.SUCCEEDED)

    async def lines() -> list[str]:
        offsets: dict[Key, int] = {}
        tails: dict[Key, bytes] = {}
        seen = [each async for each in streaming._printed(launcher, KEY, offsets, tails)]
        return [*seen, streaming._line(KEY, tails[KEY])]

    seen = asyncio.run(lines())
    said = [json.loads(each.split("data: ")[1])["line"] for each in seen]
    assert [f"line é {number}" for number in range(60_000)] == said


def test_whoever_tidies_up_ends_every_training_and_waits_for_it(launcher: LocalLauncher) -> None:
    keys = [KEY, Key("r2", 1), Key("r2/export", 1)]
    for key in keys:
        launcher.submit(key, job("import time; print('on', flush=True); time.sleep(100)"))
    for key in keys:
        while not launcher.logs(key, 0)[0]:
            sleep(0.02)

    assert end_all(launcher.root, seconds=30.0)
    assert {State.CANCELLED} == {launcher.status(key).state for key in keys}
    assert end_all(launcher.root / "nothing", seconds=0.0)


def test_a_training_that_does_not_end_in_time_is_told(launcher: LocalLauncher) -> None:
    launcher.submit(KEY, job("import time; print('on', flush=True); time.sleep(100)"))
    while not launcher.logs(KEY, 0)[0]:
        sleep(0.02)

    assert not end_all(launcher.root, seconds=-1.0)
    assert end_all(launcher.root, seconds=30.0)
