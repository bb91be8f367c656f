"""The champion pointer of one model: which version answers, moved in one step, each move recorded.

Pointer, history and the candidate on trial are one small file that is replaced as a whole, so they
cannot disagree, and a reader needs no lock. Promotions pile up and a rollback takes the top one
off; the history keeps both. A move ends the rollout that is under way, in the same step.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from models import durable, rollout
from models.errors import (
    CorruptVersionError,
    RegistryError,
    UnknownModelError,
    VersionConflictError,
)
from models.rollout import Ended, Rollout

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
        plan: Digest of the change-control plan in force; "" where nobody said.
        approved_by: Who agreed beforehand; "" for nobody.
    """

    sequence: int
    action: Literal["promote", "rollback"]
    version: int
    digest: str
    previous: int | None
    reason: str
    actor: str
    at: str
    plan: str = ""
    approved_by: str = ""


@dataclass(frozen=True, slots=True)
class Champion:
    """Where the pointer of a model is, how it came there, and which candidate is on trial.

    Attributes:
        history: Every move, oldest first.
        rollout: The candidate on trial; None where there is none.
        ended: The last rollouts that ended, oldest first.
    """

    history: tuple[Move, ...] = ()
    rollout: Rollout | None = None
    ended: tuple[Ended, ...] = ()

    @property
    def version(self) -> int | None:
        """Number of the version that answers; None before the first promotion."""
        return self.history[-1].version if self.history else None

    @property
    def digest(self) -> str | None:
        """Digest of the version that answers; None before the first promotion."""
        return self.history[-1].digest if self.history else None

    def promote(
        self,
        version: int,
        digest: str,
        *,
        reason: str,
        actor: str,
        now: datetime,
        plan: str = "",
        approved_by: str = "",
    ) -> "Champion":
        """Return the pointer on `version`; unchanged where it is there already."""
        if self.version == version:
            return self
        move = self._next("promote", version, digest, reason=reason, actor=actor, now=now)
        return self._moved(replace(move, plan=plan, approved_by=approved_by), now=now)

    def rollback(self, *, reason: str, actor: str, now: datetime, plan: str = "") -> "Champion":
        """Return the pointer on the version before the last promotion that still stands.

        Raises:
            VersionConflictError: If there is none.
        """
        standing = _standing(self.history)
        if len(standing) < 2:  # noqa: PLR2004 - the one that answers and the one before
            raise VersionConflictError("there is no earlier champion to roll back to")
        before = standing[-2]
        move = self._next(
            "rollback", before.version, before.digest, reason=reason, actor=actor, now=now
        )
        return self._moved(replace(move, plan=plan), now=now)

    def begin(self, wanted: Rollout) -> "Champion":
        """Return the pointer with a candidate on trial; unchanged where it is that one already.

        Raises:
            VersionConflictError: If another one is, the candidate answers already, or the champion
                is not the one that it is compared with.
        """
        if self.rollout is not None and self.rollout.rollout_id == wanted.rollout_id:
            return self
        if self.rollout is not None:
            raise VersionConflictError(
                f"version {self.rollout.version} is on trial already: rollout "
                f"{self.rollout.rollout_id}; withdraw it first"
            )
        if self.version != wanted.champion or wanted.version == wanted.champion:
            raise VersionConflictError(
                f"version {wanted.version} cannot be compared with champion {wanted.champion}: "
                f"version {self.version or 'none'} answers"
            )
        return replace(self, rollout=wanted)

    def advance(self, rollout_id: str | None, name: str, *, now: datetime) -> "Champion":
        """Return the pointer with the candidate as canary; unchanged where it is one already.

        Raises:
            VersionConflictError: If that rollout is not under way.
        """
        under_way = rollout.check_under_way(self.rollout, rollout_id, name)
        return replace(self, rollout=under_way.advanced(now=now))

    def withdraw(
        self, rollout_id: str | None, name: str, *, reason: str, actor: str, now: datetime
    ) -> "Champion":
        """Return the pointer without a candidate on trial.

        Raises:
            VersionConflictError: If that rollout is not under way.
        """
        under_way = rollout.check_under_way(self.rollout, rollout_id, name)
        return self.without(under_way.ended("withdrawn", reason=reason, actor=actor, now=now))

    def _moved(self, move: Move, *, now: datetime) -> "Champion":
        """Return the pointer after a move, which ends a rollout that is under way."""
        after = replace(self, history=(*self.history, move))
        if self.rollout is None:
            return after
        chosen = move.action == "promote" and move.version == self.rollout.version
        end = self.rollout.ended(
            "promoted" if chosen else "withdrawn",
            reason=move.reason if chosen else f"{move.action} to version {move.version} meanwhile",
            actor=move.actor,
            now=now,
        )
        return after.without(end)

    def without(self, end: Ended) -> "Champion":
        """Return the pointer after its rollout ended so."""
        return replace(self, rollout=None, ended=(*self.ended, end)[-rollout.MOST_ENDED :])

    def _next(
        self,
        action: Literal["promote", "rollback"],
        version: int,
        digest: str,
        *,
        reason: str,
        actor: str,
        now: datetime,
    ) -> Move:
        sequence = len(self.history) + 1
        at = now.isoformat()
        return Move(sequence, action, version, digest, self.version, reason, actor, at)


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
        moves = tuple(Move(**each) for each in value["history"])
        return Champion(moves, *rollout.from_plain(value))
    except FileNotFoundError:
        return Champion()
    except OSError as error:
        raise RegistryError(f"{path} cannot be read: {error}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CorruptVersionError(f"{path} cannot be read: {error}") from error


def write(folder: Path, champion: Champion) -> None:
    """Put the pointer into a model's folder, in one step."""
    history = [asdict(move) for move in champion.history]
    content = {
        "format": _FORMAT,
        "current": champion.version,
        "history": history,
        **rollout.to_plain(champion.rollout, champion.ended),
    }
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
