"""How far the installation of a part is that goes on beside serving: one small file, read by all.

Written by `services.commands.completing`, shown on the console and by `rightly doctor`.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

_FILE: Final = "retraining-part.json"

State = Literal["installing", "interrupted", "failed", "ready"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the installation stands.

    Attributes:
        state: installing, interrupted, failed (and tried again), or ready.
        since: When it came to that, ISO 8601.
        said: The last line of the installer, or what to do.
    """

    state: State
    since: str
    said: str = ""

    def seconds(self, now: datetime) -> float:
        """Return how long it has been so."""
        return (now - datetime.fromisoformat(self.since)).total_seconds()


def write(home: Path, state: State, *, now: datetime, said: str = "") -> None:
    """Say where it stands, in place of what was said before."""
    home.mkdir(parents=True, exist_ok=True)
    partial = home / f".{_FILE}.partial"
    partial.write_text(json.dumps(asdict(Progress(state, now.isoformat(), said))), "utf-8")
    partial.replace(home / _FILE)


def read(home: Path) -> Progress | None:
    """Return where it stands; None where nothing was ever installed beside serving."""
    try:
        found = json.loads((home / _FILE).read_text("utf-8"))
        return Progress(found["state"], found["since"], found["said"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
