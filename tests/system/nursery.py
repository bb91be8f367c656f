"""Starts writers and auditors that are about to be killed: imports once, then forks.

Reads one command a line: `writer HOME ACKNOWLEDGED SEED` or `auditor HOME STORE`. Answers with
the pid.
"""

import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np

from models.types import ModelRef, Prediction
from services import clock, secret
from services.auditing import auditor
from services.identifiers import identifier
from services.records import recording
from services.records.recording import AnsweredRegion, AnswerEntry
from services.settings import Settings

THREADS = 3


def write(home: Path, acknowledged: Path, seed: int) -> None:
    """Answer as fast as the journal allows, from several threads, until killed.

    An answer counts as given when its id is in the file `acknowledged`.
    """
    recorder = recording.open_recorder(
        home / "journal",
        source=identifier(clock.now()),
        key=secret.secret_key(home / "image.key"),
    )
    recorder.journal.segment_bytes = 100_000
    given = os.open(acknowledged, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)

    def work(number: int) -> None:
        rng = np.random.default_rng([seed, number])
        while True:
            entry = _entry(rng)
            recorder.record([entry])
            os.write(given, entry.prediction_id.encode() + b"\n")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def audit(home: Path, store: str) -> None:
    """Audit until killed or told to stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    auditor.run(Settings(home=home, store=store, audit_port=0, audit_seconds=0.005), stop)


def _entry(rng: np.random.Generator) -> AnswerEntry:
    probabilities = rng.dirichlet(np.ones(10)).astype(np.float32)
    now = clock.now()
    return AnswerEntry(
        prediction_id=identifier(now),
        now=now,
        model=ModelRef("digits", 1, "sha256:00"),
        classes=[str(digit) for digit in range(10)],
        prediction=Prediction(
            logits=np.log(probabilities),
            probabilities=probabilities,
            target=int(probabilities.argmax()),
            heatmap=rng.random((7, 7), np.float32),
            embedding=rng.normal(size=16).astype(np.float32),
        ),
        image=rng.integers(0, 255, (8, 8, 3), np.uint8),
        region=AnsweredRegion("client", "", rng.random((7, 7), np.float32), 0.3),
        measures={"activation_recall": float(rng.beta(6, 4)), "relevance_mass": 0.5},
    )


def main() -> None:
    """Fork a child for each command, until the input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are not waited for
    for line in sys.stdin:
        role, *arguments = line.split()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setpgid(0, 0)
            if role == "writer":
                write(Path(arguments[0]), Path(arguments[1]), int(arguments[2]))
            else:
                audit(Path(arguments[0]), arguments[1])
            os._exit(0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
