"""The champion pointer of one model: which version answers, moved in one step, each move recorded.

Pointer and history are one small file that is replaced as a whole, so they cannot disagree, and a
reader needs no lock. Promotions pile up and a rollback takes the top one off; the history keeps
both.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from models import durable
from models.errors import (
    CorruptVersionError,
    RegistryError,
    UnknownModelError,
    VersionConflictError,
)

FILE: Final = "champion.json"
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Move:
    """One move of the pointer.

    Attributes:
        sequence: Counts the moves of this model from 1.
        action: A promotion names a version; a rollback returns to the one before.
        version: What answers since.
        digest: Its content.
        previous: What answered before; None at the first move.
        reason: Why, in a sentence.
        actor: Who or what moved it.
        at: When, ISO 8601 in UTC.
    """

    sequence: int
    action: Literal["promote", "rollback"]
    version: int
    digest: str
    previous: int | None
    reason: str
    actor: str
    at: str


@dataclass(frozen=True, slots=True)
class Champion:
    """Where the pointer of a model is, and how it came there.

    Attributes:
        history: Every move, oldest first.
    """

    history: tuple[Move, ...] = ()

    @property
    def version(self) -> int | None:
        """Number of the version that answers; None before the first promotion."""
        return self.history[-1].version if self.history else None

    @property
    def digest(self) -> str | None:
        """Digest of the version that answers; None before the first promotion."""
        return self.history[-1].digest if self.history else None

    def promote(
        self, version: int, digest: str, *, reason: str, actor: str, now: datetime
    ) -> "Champion":
        """Return the pointer on `version`; unchanged where it is there already."""
        if self.version == version:
            return self
        return self._moved("promote", version, digest, reason=reason, actor=actor, now=now)

    def rollback(self, *, reason: str, actor: str, now: datetime) -> "Champion":
        """Return the pointer on the version before the last promotion that still stands.

        Raises:
            VersionConflictError: If there is none.
        """
        standing = _standing(self.history)
        if len(standing) < 2:  # noqa: PLR2004 - the one that answers and the one before
            raise VersionConflictError("there is no earlier champion to roll back to")
        before = standing[-2]
        return self._moved(
            "rollback", before.version, before.digest, reason=reason, actor=actor, now=now
        )

    def _moved(
        self,
        action: Literal["promote", "rollback"],
        version: int,
        digest: str,
        *,
        reason: str,
        actor: str,
        now: datetime,
    ) -> "Champion":
        sequence = len(self.history) + 1
        at = now.isoformat()
        move = Move(sequence, action, version, digest, self.version, reason, actor, at)
        return Champion((*self.history, move))


def read(folder: Path) -> Champion:
    """Return the pointer in a model's folder; without any history where there is no file yet.

    Raises:
        CorruptVersionError: If the file is no pointer.
        RegistryError: If it cannot be read now.
    """
    path = folder / FILE
    try:
        value = json.loads(path.read_bytes())
        if value["format"] != _FORMAT:
            raise CorruptVersionError(f"{path} has format {value['format']!r}")
        return Champion(tuple(Move(**each) for each in value["history"]))
    except FileNotFoundError:
        return Champion()
    except OSError as error:
        raise RegistryError(f"{path} cannot be read: {error}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise CorruptVersionError(f"{path} cannot be read: {error}") from error


def write(folder: Path, champion: Champion) -> None:
    """Put the pointer into a model's folder, in one step."""
    history = [asdict(move) for move in champion.history]
    content = {"format": _FORMAT, "current": history[-1]["version"], "history": history}
    durable.write(folder / FILE, json.dumps(content, indent=1).encode() + b"\n")


def check_expected(champion: Champion, expected: int | None, name: str) -> None:
    """Refuse to move a pointer that is not where the caller saw it.

    Args:
        champion: Where it is.
        expected: The version that the caller saw, 0 for none; None asks for no check.
        name: The model.

    Raises:
        VersionConflictError: If the pointer is elsewhere.
    """
    if expected is not None and (champion.version or 0) != expected:
        raise VersionConflictError(
            f"the champion of {name!r} is {champion.version or 'none'}, not {expected}: "
            "it was moved meanwhile"
        )


def require(champion: Champion, name: str) -> int:
    """Return the number of the version that answers.

    Raises:
        UnknownModelError: If none was ever promoted.
    """
    if champion.version is None:
        raise UnknownModelError(f"{name!r} has no champion yet; promote one of its versions")
    return champion.version


def _standing(history: Sequence[Move]) -> list[Move]:
    """Return the promotions that no rollback has taken back, oldest first."""
    standing: list[Move] = []
    for move in history:
        if move.action == "promote":
            standing.append(move)
        else:
            standing.pop()
    return standing
