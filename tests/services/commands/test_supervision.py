"""Children that stand and fall with their parent, with real processes and real signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.commands import supervision

OBEDIENT = """
import os, pathlib, signal, sys, time
def end(number, frame):
    pathlib.Path(sys.argv[1]).write_text(str(number))
    sys.exit(7)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
pathlib.Path(sys.argv[1] + ".pid").write_text(str(os.getpid()))
pathlib.Path(sys.argv[1]).write_text("ready")
time.sleep(60)
"""
PARENT = """
import sys
from pathlib import Path
from services.commands import supervision
command = [sys.executable, "-c", sys.argv[1], sys.argv[2]]
sys.exit(supervision.run([command], environment={}, folder=Path(".")))
"""


def run(*commands: list[str], grace: float = 5.0) -> int:
    return supervision.run(
        commands, environment=dict(os.environ), folder=Path.cwd(), grace_seconds=grace
    )


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text() == text):
        assert time.monotonic() < deadline, f"{path} never said {text!r}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("status", [0, 3])
def test_the_status_of_the_child_is_returned(status: int) -> None:
    assert run([sys.executable, "-c", f"raise SystemExit({status})"]) == status


def test_a_child_that_a_signal_ended_is_told_as_shells_do() -> None:
    killed = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]

    assert run(killed) == 128 + 9


def test_the_first_child_that_ends_takes_the_others_along(tmp_path: Path) -> None:
    said = tmp_path / "said"
    other = [sys.executable, "-c", OBEDIENT, str(said)]
    first = (
        f"import pathlib, time\nwhile not pathlib.Path({str(said)!r}).exists(): time.sleep(.01)"
    )

    assert run([sys.executable, "-c", first], other) == 0
    assert said.read_text() == str(int(signal.SIGTERM))


def test_a_child_that_does_not_end_is_killed_after_the_grace() -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    began = time.monotonic()

    run(
        [sys.executable, "-c", "import time; time.sleep(1)"],
        [sys.executable, "-c", stubborn],
        grace=0.5,
    )

    assert time.monotonic() - began < 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_forwarded_and_the_status_comes_back(tmp_path: Path, number: int) -> None:
    said = tmp_path / "said"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, OBEDIENT, str(said)])
    wait_for(said, "ready")

    parent.send_signal(number)

    assert parent.wait(20) == 7
    assert said.read_text() == str(int(number))


def test_a_killed_parent_leaves_no_child_behind(tmp_path: Path) -> None:
    said = tmp_path / "said"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, OBEDIENT, str(said)])
    wait_for(said, "ready")
    child = int(Path(f"{said}.pid").read_text())
    assert alive(child)

    parent.kill()
    parent.wait()
    wait_for(said, str(int(signal.SIGTERM)))
    deadline = time.monotonic() + 10
    while alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_becomes_another_under_its_own_number(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from services.commands import supervision\n"
        "print('first', os.getpid())\n"
        "supervision.become([sys.executable, '-c', 'import os; print(os.environ[\"SAID\"], "
        "os.getpid(), os.getcwd())'], environment={'SAID': 'second'}, folder=Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True
    )
    first, second = (line.split() for line in done.stdout.splitlines())

    assert first[0] == "first"
    assert ["second", first[1], str(tmp_path)] == second


def test_a_companion_is_started_again_and_ends_with_the_first(tmp_path: Path) -> None:
    tally = tmp_path / "tally"
    companion = f"import pathlib; open({str(tally)!r}, 'a').write('x')"
    leader = (
        f"import pathlib, time\ntally = pathlib.Path({str(tally)!r})\n"
        "while not tally.exists() or len(tally.read_text()) < 3: time.sleep(.02)"
    )

    status = supervision.run(
        [[sys.executable, "-c", leader]],
        companions=[[sys.executable, "-c", companion]],
        environment=dict(os.environ),
        folder=Path.cwd(),
        pause_seconds=0.05,
    )

    assert status == 0
    assert len(tally.read_text()) >= 3


def test_a_companion_is_ended_with_the_others(tmp_path: Path) -> None:
    said = tmp_path / "said"
    leader = (
        f"import pathlib, time\nwhile not pathlib.Path({str(said)!r}).exists(): time.sleep(.01)"
    )

    supervision.run(
        [[sys.executable, "-c", leader]],
        companions=[[sys.executable, "-c", OBEDIENT, str(said)]],
        environment=dict(os.environ),
        folder=Path.cwd(),
    )

    assert said.read_text() == str(int(signal.SIGTERM))
