"""What is attached to a model beside its versions: a segmenter, a template region.

    <root>/<model>/<kind>/<n>/          a card.json and the files that it lists; never changes
    <root>/<model>/<kind>/current.json  which one is in use, and every change of that

It is no part of a version: it does not change what the model answers, only how answers are judged.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from models import contract, durable
from models.errors import CorruptVersionError, GraphRejectedError, RegistryError

Kind: TypeAlias = Literal["segmenter", "template"]
CARD: Final = "card.json"
CURRENT: Final = "current.json"
LARGEST_CARD: Final = 1_000_000  # bytes
_INCOMING: Final = ".incoming"


@dataclass(frozen=True, slots=True)
class Attached:
    """One attachment as it is filed.

    Attributes:
        model: The model's name.
        number: Counts from 1 within model and kind.
        digest: "sha256:" and the digest of its card, which lists its files with theirs.
        card: What its maker said about it.
        folder: Where its files are; read-only.
    """

    model: str
    number: int
    digest: str
    card: Mapping[str, Any]
    folder: Path

    def content(self, name: str, *, largest: int) -> bytes:
        """Return one of its files.

        Raises:
            CorruptVersionError: If it is missing, or not what the card says.
        """
        try:
            content = contract.read_regular(self.folder / name, largest=largest)
        except GraphRejectedError as error:
            raise CorruptVersionError(f"{self.folder.name} of {self.model}: {error}") from error
        if hashlib.sha256(content).hexdigest() != self.card["files"].get(name):
            raise CorruptVersionError(f"{name} of {self.model} has changed since it was attached")
        return content


@dataclass(frozen=True, slots=True)
class Attachments:
    """The attachments of one kind under a registry's folder.

    Attributes:
        root: The registry's folder.
        kind: Which kind.
    """

    root: Path
    kind: Kind

    def attach(
        self,
        model: str,
        files: Mapping[str, bytes],
        card: Mapping[str, Any],
        *,
        actor: str,
        now: datetime,
    ) -> Attached:
        """File an attachment and use it from now on.

        Args:
            model: An existing model; the caller has checked.
            files: Name → content.
            card: JSON values.
            actor: Who attaches it.
            now: When, with a time zone.
        """
        home = self._home(model)
        listed = {name: hashlib.sha256(each).hexdigest() for name, each in files.items()}
        content = _text({**card, "files": listed, "actor": actor, "at": now.isoformat()})
        with durable.exclusive(home / ".lock"):
            number = 1 + max((int(each.name) for each in home.glob("[0-9]*")), default=0)
            incoming = home / _INCOMING
            shutil.rmtree(incoming, ignore_errors=True)  # left by a process that was killed
            for name, each in files.items():
                durable.create(incoming / name, [each])
            durable.create(incoming / CARD, [content])
            incoming.rename(home / str(number))
            durable.sync_folder(home)
            self._point(home, number, actor=actor, now=now)
        return self._read(model, number)

    def detach(self, model: str, *, actor: str, now: datetime) -> bool:
        """Use none from now on; return whether one was in use. Its files stay."""
        home = self._home(model)
        if self.current_number(model) is None:
            return False
        with durable.exclusive(home / ".lock"):
            self._point(home, None, actor=actor, now=now)
        return True

    def current(self, model: str) -> Attached | None:
        """Return what is in use; None where nothing is.

        Raises:
            CorruptVersionError: If its card cannot be read.
        """
        number = self.current_number(model)
        return None if number is None else self._read(model, number)

    def current_number(self, model: str) -> int | None:
        """Return the number of what is in use; None where nothing is."""
        return self._pointer(self._home(model)).get("number")

    def history(self, model: str) -> list[Mapping[str, Any]]:
        """Return every change, oldest first: "number" (null for none), "actor", "at"."""
        return list(self._pointer(self._home(model)).get("history", []))

    def stamp(self, model: str) -> tuple[int, int] | None:
        """Return what changes whenever `current` does, for one look at the file system."""
        try:
            state = (self._home(model) / CURRENT).stat()
        except OSError:
            return None
        return state.st_mtime_ns, state.st_ino

    def _home(self, model: str) -> Path:
        return self.root / model / self.kind

    def _read(self, model: str, number: int) -> Attached:
        folder = self._home(model) / str(number)
        try:
            content = contract.read_regular(folder / CARD, largest=LARGEST_CARD)
            card = json.loads(content)
            dict(card["files"])
        except (GraphRejectedError, ValueError, KeyError, TypeError) as error:
            raise CorruptVersionError(
                f"{self.kind} {number} of {model} cannot be read: {error}"
            ) from error
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        return Attached(model, number, digest, card, folder)

    def _pointer(self, home: Path) -> dict[str, Any]:
        try:
            pointer = json.loads((home / CURRENT).read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise CorruptVersionError(f"{home / CURRENT} cannot be read: {error}") from error
        return dict(pointer)

    def _point(self, home: Path, number: int | None, *, actor: str, now: datetime) -> None:
        change = {"number": number, "actor": actor, "at": now.isoformat()}
        history = [*self._pointer(home).get("history", []), change]
        durable.write(home / CURRENT, _text({"number": number, "history": history}))


def _text(value: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise RegistryError(f"a card holds only JSON values: {error}") from error
