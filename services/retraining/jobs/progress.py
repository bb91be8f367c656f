"""What can be read of a retraining while it runs: its attempts and the last progress."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.retraining.jobs.launchers import Key
from services.retraining.rows import Retraining

FILE = "progress.jsonl"
TEACHER = "teacher.jsonl"  # of the teacher that a training trains first
TOURNAMENT = "tournament.jsonl"  # of the entrants of a tournament
WATCHED = (FILE, TEACHER, TOURNAMENT)
"""What grows while a training moves."""
_EXPORT = "export"


def of(root: Path, found: Retraining) -> dict[str, Any] | None:
    """Return the last progress of the training; None unless it trains now."""
    if found.step != "train" or found.ended or not found.attempt:
        return None
    return last(root / found.retraining_id / f"attempt-{found.attempt}" / FILE)


def last(path: Path) -> dict[str, Any] | None:
    """Return the last whole line of a file of JSON lines; None where there is none."""
    return next(iter(reversed(lines(path))), None)


def lines(path: Path) -> list[dict[str, Any]]:
    """Return every whole line of a file of JSON lines, in order."""
    try:
        written = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in written:
        try:
            found.append(json.loads(line))
        except ValueError:  # still being written
            continue
    return found


def attempts(root: Path, found: Retraining) -> Sequence[Key]:
    """Return every attempt of training and export that there is, in order."""
    keys = [
        *(Key(found.retraining_id, number) for number in range(1, found.attempt + 1)),
        *(
            Key(f"{found.retraining_id}/{_EXPORT}", number)
            for number in range(1, int(found.facts.get("export_attempt", 0)) + 1)
        ),
    ]
    return [key for key in keys if (root / key.retraining / f"attempt-{key.attempt}").is_dir()]
