"""Kill −9 at random points: nothing acknowledged is lost, nothing is there twice, the chain holds.

How often is set by RIGHTLY_TEST_ROUNDS; the default is what CI runs.
"""

import collections
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit import records
from audit.store import connections, queries, states, tables, verification
from audit.store.anchors import AnchorFolder
from audit.watch.watching import Promise, Watching
from models.registry import Registry
from services import secret
from services.auditing import auditor
from services.settings import Settings
from services.versions.references import CardReferences
from tests import stores

pytestmark = [pytest.mark.system, pytest.mark.slow]
ROUNDS = int(os.environ.get("RIGHTLY_TEST_ROUNDS", "50"))
DATABASE_ROUNDS = max(3, ROUNDS // 10)


class Nursery:
    """A process that has imported everything and forks what is to be killed."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.system.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._alive: set[int] = set()

    def start(self, *command: object) -> int:
        self._process.stdin.write(" ".join(map(str, command)) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        self._alive.add(pid)
        return pid

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + 30
        while is_alive(pid):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{pid} does not end")
            time.sleep(0.002)
        self._alive.discard(pid)

    def close(self) -> None:
        for pid in list(self._alive):
            self.kill(pid)
        if self._process.returncode is not None:
            return
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


def finish(home: Path, url: str) -> None:
    """Let an auditor ingest what is left."""
    stop = threading.Event()
    chosen = Settings(home=home, store=url, audit_port=0, audit_seconds=0.01)
    thread = threading.Thread(target=auditor.run, args=(chosen, stop))
    thread.start()
    deadline = time.monotonic() + 120
    while any((home / "journal").glob("*.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    stop.set()
    thread.join()
    assert [] == list((home / "journal").glob("*.jsonl"))


def check(home: Path, url: str, acknowledged: Path) -> tuple[int, int]:
    """Compare what was acknowledged with what is stored; return how many of each."""
    given = [line for line in acknowledged.read_text().splitlines() if len(line) == 26]
    reader = connections.open_reader(url)
    key = secret.secret_key(home / "chain.key")
    checked = verification.verify(reader, key=key, anchors=AnchorFolder(home / "anchors").read())
    with reader.begin() as connection:
        stored = collections.Counter(
            connection.execute(sa.select(tables.events.c.event_id)).scalars()
        )
        again = Watching(Promise(), CardReferences(Registry(home / "registry")))
        for _, event in queries.replay(connection):
            if isinstance(event, records.PredictionRecord):
                again.answered(event)
        kept = dict(states.load(connection))
    reading = queries.Reading(reader)
    sample = [reading.prediction(name) for name in given[:: max(1, len(given) // 50)]]
    reader.dispose()

    assert [] == [each for each in given if each not in stored]
    assert [] == [each for each, count in stored.items() if count > 1]
    assert () == tuple(checked.findings)
    assert kept == {key: each.to_text() for key, each in again.watched.items()}
    assert all(
        (home / "images" / each.image[:2] / each.image[2:4] / f"{each.image}.png").exists()
        for each in sample
    )
    return len(given), len(stored)


def rounds(
    nursery: Nursery, home: Path, url: str, count: int, also: Callable[[random.Random], None]
) -> Path:
    """Start writers and an auditor again and again, and kill what chance chooses."""
    rng, acknowledged = random.Random(11), home / "acknowledged"  # noqa: S311 - seeded
    running: dict[str, int] = {}
    for number in range(count):
        for role in ("writer-1", "writer-2", "auditor"):
            if role not in running:
                arguments = (home, url) if role == "auditor" else (home, acknowledged, 10 * number)
                running[role] = nursery.start(role.split("-")[0], *arguments)
        time.sleep(rng.uniform(0.02, 0.35))
        victims = rng.choice(
            [["writer-1"], ["auditor"], ["writer-1", "auditor"], ["writer-1", "writer-2"]]
        )
        for victim in victims:
            nursery.kill(running.pop(victim))
        also(rng)
    for pid in running.values():
        nursery.kill(pid)
    return acknowledged


def test_killed_writers_and_auditors_lose_and_double_nothing(nursery, tmp_path, capsys) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    acknowledged = rounds(nursery, tmp_path, url, ROUNDS, lambda _: None)
    finish(tmp_path, url)
    given, stored = check(tmp_path, url, acknowledged)

    assert given > 0
    with capsys.disabled():
        sys.stdout.write(
            f"\n{ROUNDS} rounds of kill -9: {given} acknowledged, 0 lost, 0 doubled, "
            f"{stored} stored, chain intact\n"
        )


def test_a_killed_database_loses_and_doubles_nothing(nursery, capsys) -> None:
    if (reason := stores.missing_postgresql()) is not None:
        pytest.skip(reason)
    home = Path(tempfile.mkdtemp(prefix="rightly-pg-"))
    home.chmod(0o755)
    try:
        with stores.postgresql(home / "pg") as url:

            def kill_backend(_: random.Random) -> None:
                """One killed backend makes PostgreSQL end all of them and recover from its log."""
                children = subprocess.run(
                    ["pgrep", "-P", (home / "pg/data/postmaster.pid").read_text().split()[0]],
                    capture_output=True,
                    text=True,
                    check=False,  # nothing is found while it recovers
                ).stdout.split()
                for pid in children:
                    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # just gone
                        if b"rightly" in Path(f"/proc/{pid}/cmdline").read_bytes():
                            os.kill(int(pid), signal.SIGKILL)
                            time.sleep(0.5)
                            break

            acknowledged = rounds(nursery, home, url, DATABASE_ROUNDS, kill_backend)
            time.sleep(1)
            finish(home, url)
            given, stored = check(home, url, acknowledged)
        assert given > 0
        with capsys.disabled():
            sys.stdout.write(
                f"\n{DATABASE_ROUNDS} rounds with killed databases: {given} acknowledged, "
                f"0 lost, 0 doubled, {stored} stored, chain intact\n"
            )
    finally:
        nursery.close()  # else writers go on where the folder is taken away
        shutil.rmtree(home)
