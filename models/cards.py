"""A version's card: what it is, where it comes from, what was measured, and which files belong.

The digest names the content: it is computed over everything in the card but the name, the number
and the moment of filing, and the card lists every file with its own SHA-256. So one string stands
for the bytes, the preprocessing, the measures and the lineage, in whichever registry they lie.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from importlib import metadata
from typing import Any, Final, TypeAlias

from models import specs
from models.errors import CorruptVersionError, GraphRejectedError, RegistryError
from models.types import ClassifierSpec

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

FORMAT: Final = 1
FILE: Final = "card.json"
# In `CardFields.measures`: how each explainer reacts to random weights (`models.sanity`).
REACTIONS: Final = "weight_randomisation"
LARGEST: Final = 4_000_000  # bytes
ONE_CELL: Final = (
    "the heatmap has one cell (1 × 1), so it says nothing about where the evidence lies: take "
    "larger images, or a network that reduces them less"
)
_NOT_CONTENT: Final = ("name", "version", "created_at", "digest")
_UNREADABLE: Final = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
    GraphRejectedError,
    RegistryError,
)
_LIBRARIES: Final = (
    "rightly",
    "numpy",
    "pillow",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxscript",
    "safetensors",
    "torch",
    "torchvision",
)


def installed_libraries() -> dict[str, str]:
    """Return the versions of the installed libraries that shape a trained or exported model."""
    found = {}
    for name in _LIBRARIES:
        for each in metadata.distributions(name=name):
            found[name] = each.version
    return found


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a version comes from.

    Attributes:
        parent: Digest of the version that training began from; None for a first one.
        dataset: Digest of the training data; None where it is not known.
        recipe: Objective, its numbers and whatever else makes the training repeatable.
        seeds: Every seed that was set.
        libraries: Library name → version, where the version was trained or exported.
    """

    parent: str | None = None
    dataset: str | None = None
    recipe: Mapping[str, Json] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    libraries: Mapping[str, str] = field(default_factory=installed_libraries)


@dataclass(frozen=True, slots=True)
class CardFields:
    """What the maker of a version says about it; the rest of the card is read from its files.

    Attributes:
        measures: Name → value as evaluated, for example "accuracy".
        lineage: Where it comes from.
        parity: How closely the graphs answer as torch does; None where that was not measured.
        note: A sentence for people.
    """

    measures: Mapping[str, Json] = field(default_factory=dict)
    lineage: Lineage = field(default_factory=Lineage)
    parity: Mapping[str, Json] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a version.

    Attributes:
        bytes: Its size.
        sha256: Its digest in hexadecimal.
    """

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Card:
    """Everything the registry knows about a version.

    Attributes:
        name: The model's name in this registry.
        version: Counts from 1 within the name.
        created_at: When the version was first filed, ISO 8601 in UTC.
        spec: The classifier, with preprocessing and classes.
        files: Path within the version → file.
        fields: What its maker said.
    """

    name: str
    version: int
    created_at: str
    spec: ClassifierSpec
    files: Mapping[str, FileEntry]
    fields: CardFields

    @property
    def digest(self) -> str:
        """Return "sha256:" and the digest of the content."""
        content = {key: value for key, value in self._all().items() if key not in _NOT_CONTENT}
        return "sha256:" + hashlib.sha256(_canonical(content)).hexdigest()

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of the heatmap, as seen when parity was measured; None before that."""
        found = (self.fields.parity or {}).get("grid")
        if not isinstance(found, Sequence) or len(found) != 2:  # noqa: PLR2004 - rows, columns
            return None
        return int(str(found[0])), int(str(found[1]))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever relies on this version must know; empty where all is well."""
        return (ONE_CELL,) if self.grid == (1, 1) else ()

    def as_json(self) -> dict[str, Any]:
        """Return the card as JSON values, digest included."""
        plain: dict[str, Any] = json.loads(_canonical(self._all()))
        return {**plain, "digest": self.digest}

    def filed(self, name: str, version: int) -> "Card":
        """Return the card under another name and number; the digest stays."""
        return replace(self, name=name, version=version)

    def _all(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "created_at": self.created_at,
            "spec": specs.to_mapping(self.spec),
            "files": {path: asdict(entry) for path, entry in self.files.items()},
            **asdict(self.fields),
        }


def to_bytes(card: Card) -> bytes:
    """Return the content of `card.json`.

    Raises:
        RegistryError: If a field holds something that JSON has no word for, NaN included.
    """
    try:
        text = json.dumps(card.as_json(), indent=2, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RegistryError(f"the card of {card.name!r} cannot be written: {error}") from error
    return text.encode() + b"\n"


def from_bytes(content: bytes, what: str) -> Card:
    """Return the card in the content of a `card.json`.

    Args:
        content: As `to_bytes` writes it.
        what: How to call the version in an error.

    Raises:
        CorruptVersionError: If it is no card, or its digest is not that of its content.
    """
    try:
        value = json.loads(content)
        if value["format"] != FORMAT:
            raise CorruptVersionError(
                f"the card of {what} has format {value['format']!r}, this Rightly reads {FORMAT}"
            )
        card = _card(value)
        stated, found = value["digest"], card.digest
    except _UNREADABLE as error:
        raise CorruptVersionError(f"the card of {what} cannot be read: {error}") from error
    if found != stated:
        raise CorruptVersionError(
            f"the card of {what} was changed: it states {stated!r}, its content is {found}"
        )
    return card


def _card(value: Mapping[str, Any]) -> Card:
    lineage = value["lineage"]
    return Card(
        name=str(value["name"]),
        version=int(value["version"]),
        created_at=datetime.fromisoformat(value["created_at"]).isoformat(),
        spec=specs.from_mapping(value["spec"]),
        files={
            str(path): FileEntry(int(entry["bytes"]), str(entry["sha256"]))
            for path, entry in value["files"].items()
        },
        fields=CardFields(
            measures=dict(value["measures"]),
            lineage=Lineage(
                parent=_text_or_none(lineage["parent"]),
                dataset=_text_or_none(lineage["dataset"]),
                recipe=dict(lineage["recipe"]),
                seeds=tuple(int(each) for each in lineage["seeds"]),
                libraries={str(name): str(v) for name, v in lineage["libraries"].items()},
            ),
            parity=None if value["parity"] is None else dict(value["parity"]),
            note=str(value["note"]),
        ),
    )


def _text_or_none(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"needed is text or null, got {type(value).__name__}")


def _canonical(value: object) -> bytes:
    try:
        return json.dumps(
            value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain
        ).encode()
    except (TypeError, ValueError) as error:
        raise RegistryError(f"a card holds only JSON values: {error}") from error


def _plain(value: object) -> object:
    """Let mappings of any kind stand for objects."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")
