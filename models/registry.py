"""Models and their versions in one folder: versions never change, one pointer says which answers.

    <root>/<model>/versions/<n>/   card.json, predict.onnx, explain.onnx, weights.safetensors, …
    <root>/<model>/champion.json

A version is copied, hashed and checked in a hidden folder and then renamed to its number, so it is
there as a whole or not at all. Any number of processes may read and write; readers take no lock.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias

from models import archive, cards, champion, contract, durable, rollout
from models.cards import Card, CardFields, FileEntry
from models.champion import Champion, Move
from models.errors import CorruptVersionError, GraphRejectedError, RegistryError, UnknownModelError
from models.types import ModelRef

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_INCOMING: Final = ".incoming"
# Looks at a version's files before they are filed, and raises what refuses them.
Check: TypeAlias = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Version:
    """One version in the registry.

    Attributes:
        ref: Name, number and digest.
        card: Everything known about it.
        folder: Where its files are; read-only.
    """

    ref: ModelRef
    card: Card
    folder: Path


class Registry:
    """The models under one folder.

    Attributes:
        root: That folder; created when the first version is added.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def models(self) -> list[str]:
        """Return the names of the models that have a version, sorted."""
        if not self.root.is_dir():
            return []
        names = [each.name for each in self.root.iterdir() if _NAME.fullmatch(each.name)]
        return sorted(name for name in names if self._numbers(name))

    def versions(self, name: str) -> list[Version]:
        """Return every version of a model, oldest first.

        Raises:
            UnknownModelError: If the registry has no such model.
            CorruptVersionError: If a version's card does not match its digest.
        """
        numbers = self._numbers(name)
        if not numbers:
            raise UnknownModelError(f"no model {name!r}; there {_there_are(self.models())}")
        return [self.version(name, number) for number in numbers]

    def version(self, name: str, number: int) -> Version:
        """Return one version.

        Raises:
            UnknownModelError: If the registry has no such model or version.
            CorruptVersionError: If its card does not match its digest.
        """
        folder = self._folder(name) / "versions" / str(number)
        what = f"{name} version {number}"
        try:
            content = contract.read_regular(folder / cards.FILE, largest=cards.LARGEST)
        except GraphRejectedError as error:
            if folder.is_dir():
                raise CorruptVersionError(f"{what}: {error}") from error
            raise UnknownModelError(
                f"no {what}; there {_there_are(map(str, self._numbers(name)))}"
            ) from error
        card = cards.from_bytes(content, what)
        if (card.name, card.version) != (name, number):
            raise CorruptVersionError(f"{what} holds the card of {card.name} {card.version}")
        return Version(ModelRef(name, number, card.digest), card, folder)

    def verify(self, version: Version) -> None:
        """Read every file of a version and compare it with the card.

        Raises:
            CorruptVersionError: If a file is missing, changed, linked or not in the card.
        """
        _check_files(version.folder, version.card, f"{version.ref.name} {version.ref.version}")

    def add(
        self,
        name: str,
        folder: Path,
        fields: CardFields | None = None,
        *,
        now: datetime,
        check: Check = lambda _: None,
    ) -> Version:
        """Copy the files in `folder` into a new version; the champion stays.

        Args:
            name: Lower case letters, digits, `_` and `-`; a new name makes a new model.
            folder: Holds at least `predict.onnx` and `explain.onnx`.
            fields: What the maker of the version says about it.
            now: When it is filed, with a time zone.
            check: Called with the folder before it is filed; whatever it raises refuses it.

        Returns:
            The new version, or the one that has the same content already.

        Raises:
            GraphRejectedError: If a graph breaks the contract.
            CorruptVersionError: If a file has no place in a version.
            RegistryError: If the name cannot be used, or `fields` are not JSON.
        """

        def fill(target: Path) -> Card:
            files = {}
            for path in _walk(folder):
                archive.check_path(path)
                files[path] = FileEntry(*durable.copy(folder / path, target / path))
            spec = contract.check_folder(target)
            check(target)
            return Card(name, 0, now.isoformat(), spec, files, fields or CardFields())

        return self._publish(name, fill)

    def adopt(self, folder: Path, *, name: str | None = None) -> Version:
        """Copy a version that another registry wrote, card and all.

        Args:
            folder: Holds a `card.json` and the files that it lists.
            name: The model to file it under; its own name when None.

        Raises:
            CorruptVersionError: If the files are not what the card says.
            GraphRejectedError: If a graph breaks the contract.
        """
        content = contract.read_regular(folder / cards.FILE, largest=cards.LARGEST)
        card = cards.from_bytes(content, folder.name)

        def fill(target: Path) -> Card:
            _check_names(folder, card, folder.name)
            for path in card.files:
                durable.copy(folder / path, target / path)
            _check_files(target, card, folder.name)
            return _checked_spec(target, card)

        return self._publish(name or card.name, fill)

    def export_archive(self, version: Version, path: Path) -> None:
        """Write a version to one file, after its digests have been checked.

        Raises:
            CorruptVersionError: If its files are not what the card says.
            RegistryError: If `path` exists already.
        """
        self.verify(version)
        archive.write(path, version.card, version.folder)

    def import_archive(
        self, path: Path, *, name: str | None = None, check: Check = lambda _: None
    ) -> Version:
        """File the version in an archive, once everything in it is as its card says.

        Args:
            path: Written by `export_archive`, here or elsewhere.
            name: The model to file it under; its own name when None.
            check: Called with the folder before it is filed; whatever it raises refuses it.

        Raises:
            CorruptVersionError: If anything in the archive is not as its card says.
            GraphRejectedError: If a graph breaks the contract.
        """

        def fill(target: Path) -> Card:
            card = _checked_spec(target, archive.unpack(path, target))
            check(target)
            return card

        return self._publish(name or archive.read_card(path).name, fill)

    def champion(self, name: str) -> Version:
        """Return the version that answers.

        Raises:
            UnknownModelError: If there is no such model, or none of its versions was promoted.
        """
        if not self._numbers(name):
            raise UnknownModelError(f"no model {name!r}; there {_there_are(self.models())}")
        return self.version(name, champion.require(self.pointer(name), name))

    def pointer(self, name: str) -> Champion:
        """Return the champion pointer with its history; one small file, cheap to poll."""
        return champion.read(self._folder(name))

    def history(self, name: str) -> tuple[Move, ...]:
        """Return every move of the champion pointer, oldest first."""
        return self.pointer(name).history

    def promote(
        self,
        name: str,
        version: int,
        *,
        reason: str,
        actor: str,
        now: datetime,
        expected: int | None = None,
        plan: str = "",
        approved_by: str = "",
        rollout_id: str | None = None,
    ) -> Version:
        """Let a version answer from now on, after its files have been checked.

        A rollout that is under way ends in the same step.

        Args:
            name: The model.
            version: The version's number; nothing moves where it answers already.
            reason: Why, in a sentence; kept in the history.
            actor: Who or what decided; kept in the history.
            now: When, with a time zone.
            expected: The champion that the caller saw, 0 for none; None asks for no check.
            plan: Digest of the change-control plan in force; kept in the history.
            approved_by: Who agreed beforehand; kept in the history.
            rollout_id: The rollout that must be under way; None asks for no check.

        Raises:
            UnknownModelError: If there is no such version.
            CorruptVersionError: If its files are not what the card says.
            VersionConflictError: If the champion or the rollout is not the expected one.
        """
        chosen = self.version(name, version)
        self.verify(chosen)

        def forward(pointer: Champion) -> Champion:
            if rollout_id is not None:
                rollout.check_under_way(pointer.rollout, rollout_id, name)
            return pointer.promote(
                version,
                chosen.ref.digest,
                reason=reason,
                actor=actor,
                now=now,
                plan=plan,
                approved_by=approved_by,
            )

        self.move(name, forward, expected)
        return chosen

    def rollback(
        self,
        name: str,
        *,
        reason: str,
        actor: str,
        now: datetime,
        expected: int | None = None,
        plan: str = "",
    ) -> Version:
        """Undo the last promotion that still stands.

        Raises:
            UnknownModelError: If there is no such model.
            CorruptVersionError: If the earlier version's files are not what the card says.
            VersionConflictError: If there is no earlier champion, or it is not the expected one.
        """
        self.champion(name)

        def back(pointer: Champion) -> Champion:
            moved = pointer.rollback(reason=reason, actor=actor, now=now, plan=plan)
            self.verify(self.version(name, champion.require(moved, name)))
            return moved

        moved = self.move(name, back, expected)
        return self.version(name, champion.require(moved, name))

    def move(
        self, name: str, change: Callable[[Champion], Champion], expected: int | None = None
    ) -> Champion:
        """Replace the champion pointer by what `change` makes of it, alone among all processes.

        Raises:
            UnknownModelError: If the registry has no such model.
            VersionConflictError: If the champion is not the expected one, or `change` says so.
        """
        if not self._numbers(name):
            raise UnknownModelError(f"no model {name!r}; there {_there_are(self.models())}")
        folder = self._folder(name)
        with durable.exclusive(folder / ".champion.lock"):
            before = champion.read(folder)
            champion.check_expected(before, expected, name)
            after = change(before)
            if after != before:
                champion.write(folder, after)
            return after

    def _publish(self, name: str, fill: Callable[[Path], Card]) -> Version:
        """Let `fill` write into a hidden folder, check it, and give it the next number."""
        versions = self._folder(name) / "versions"
        with durable.exclusive(versions.parent / ".versions.lock"):
            incoming = versions / _INCOMING
            shutil.rmtree(incoming, ignore_errors=True)  # left by a process that was killed
            incoming.mkdir(parents=True)
            try:
                card = fill(incoming)
                for known in self._numbers(name):
                    if self.version(name, known).ref.digest == card.digest:
                        return self.version(name, known)
                number = max(self._numbers(name), default=0) + 1
                durable.write(incoming / cards.FILE, cards.to_bytes(card.filed(name, number)))
                incoming.rename(versions / str(number))
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
            durable.sync_folder(versions)
            return self.version(name, number)

    def _folder(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise UnknownModelError(
                f"{name[:80]!r} cannot name a model: "
                "at most 63 lower case letters, digits, _ and -, a letter or digit at both ends"
            )
        return self.root / name

    def _numbers(self, name: str) -> list[int]:
        folder = self._folder(name) / "versions"
        if not folder.is_dir():
            return []
        names = [each.name for each in folder.iterdir()]
        return sorted(int(each) for each in names if re.fullmatch(r"[1-9][0-9]{0,8}", each))


def _walk(folder: Path) -> Iterator[str]:
    """Return the paths of the files in `folder`; a link or a device is refused."""
    if not folder.is_dir():
        raise RegistryError(f"{folder} is no folder")
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise CorruptVersionError(f"{path} is a link or a device; a version holds files")
        if path.is_file():
            yield path.relative_to(folder).as_posix()


def _checked_spec(folder: Path, card: Card) -> Card:
    if contract.check_folder(folder) != card.spec:
        raise CorruptVersionError("the graphs are not of the classifier in the card")
    return card


def _check_names(folder: Path, card: Card, what: str) -> None:
    found = set(_walk(folder)) - {cards.FILE}
    if found != set(card.files):
        different = ", ".join(sorted(found ^ set(card.files)))
        raise CorruptVersionError(f"{what}: the files are not those of its card: {different}")
    for path in card.files:
        archive.check_path(path)


def _check_files(folder: Path, card: Card, what: str) -> None:
    _check_names(folder, card, what)
    for path, entry in card.files.items():
        try:
            found = durable.hash_file(folder / path)
        except OSError as error:
            raise CorruptVersionError(f"{what}: {path} cannot be read: {error}") from error
        if found != (entry.bytes, entry.sha256):
            raise CorruptVersionError(f"{what}: {path} has changed since it was filed")


def _there_are(names: Iterator[str] | list[str]) -> str:
    given = ", ".join(names)
    return f"are {given}" if given else "are none"
