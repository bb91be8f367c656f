"""Which versions learned from data that has been erased since; a version itself never changes.

<root>/<model>/erasures.json   {version: [{"at", "dataset", "withdrawn": [commitments]}]}
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from models import durable
from models.errors import CorruptVersionError

FILE: Final = "erasures.json"


def note(
    root: Path,
    model: str,
    version: int,
    withdrawn: Sequence[str],
    *,
    dataset: str | None,
    now: datetime,
) -> None:
    """Write down that rows that a version learned from were erased; twice is once.

    Args:
        root: The registry's folder.
        model: The model's name.
        version: The version's number.
        withdrawn: Keyed commitments to the rows' names, which alone say nothing.
        dataset: Digest of the data as it was when the version learned from it.
        now: When, with a time zone.
    """
    path = root / model / FILE
    with durable.exclusive(path.with_name(".erasures.lock")):
        known = _read(path)
        entries = known.setdefault(str(version), [])
        before = {each for entry in entries for each in entry["withdrawn"]}
        fresh = sorted(set(withdrawn) - before)
        if not fresh:
            return
        entries.append({"at": now.isoformat(), "dataset": dataset, "withdrawn": fresh})
        durable.write(path, json.dumps(known, indent=1, sort_keys=True).encode() + b"\n")


def of(root: Path, model: str, version: int) -> Sequence[Mapping[str, Any]]:
    """Return what was erased of a version's data, oldest first; empty where nothing was.

    Raises:
        CorruptVersionError: If the file cannot be read.
    """
    return _read(root / model / FILE).get(str(version), [])


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        return dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CorruptVersionError(f"{path} cannot be read: {error}") from error
