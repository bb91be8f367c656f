"""A process of the installation says that it works, and what fails, for the others to see.

The auditor and the runner serve nobody whose unanswered request would tell that they are gone. So
each writes a small file into the home every few seconds. It is no state: losing it loses nothing,
and that it is old says that nobody works.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

LOG = logging.getLogger("rightly.presence")
EVERY: Final = timedelta(seconds=2)
# A step over a large store takes a while.
SILENT_AFTER: Final = timedelta(seconds=60)
_LONGEST: Final = 500  # characters of a failure


@dataclass(frozen=True, slots=True)
class Presence:
    """What a process said last.

    Attributes:
        at: When.
        failing: What fails at present → why.
    """

    at: datetime
    failing: Mapping[str, str]

    def is_silent(self, now: datetime) -> bool:
        """Whether it has said nothing for too long; what lies ahead is no sign of life."""
        return not -SILENT_AFTER <= now - self.at <= SILENT_AFTER


class Showing:
    """Says for one process that it works."""

    def __init__(self, home: Path, name: str) -> None:
        self._path = _path(home, name)
        self._last: tuple[datetime, Mapping[str, str]] | None = None

    def show(self, failing: Mapping[str, str], *, now: datetime) -> None:
        """Say it, unless the same was said a moment ago.

        Args:
            failing: What fails at present → why.
            now: The present.
        """
        if self._last is not None:
            at, said = self._last
            if said == failing and timedelta(0) <= now - at < EVERY:
                return
        content = {
            "at": now.isoformat(),
            "failing": {name: why[:_LONGEST] for name, why in failing.items()},
        }
        beside = self._path.with_name(f".{self._path.name}.partial")
        try:
            beside.write_text(json.dumps(content), "utf-8")
            beside.replace(self._path)
        except OSError as error:  # a full disk must not end whoever says so
            LOG.warning("it cannot be told that this process works: %s", error)
            return
        self._last = (now, dict(failing))


def read(home: Path, name: str) -> Presence | None:
    """Return what a process said last; None where it never did, or it cannot be read."""
    try:
        value = json.loads(_path(home, name).read_bytes())
        failing = {str(job): str(why) for job, why in value["failing"].items()}
        at = datetime.fromisoformat(value["at"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return None if at.tzinfo is None else Presence(at, failing)


def _path(home: Path, name: str) -> Path:
    return home / f"{name}.presence.json"
