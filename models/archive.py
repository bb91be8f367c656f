"""A version as one file: a plain tar, the card first, read as if an enemy had made it.

Written in the ustar format and read by a reader that knows nothing else: no links, no devices, no
extended headers, only the names and sizes that the card lists, and each file's digest compared.
Not compressed on purpose: weights would not shrink, and what is not compressed cannot explode.

References:
    IEEE Std 1003.1-2017, `pax`, "ustar Interchange Format".
"""

import io
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from models import cards, durable
from models.cards import Card
from models.errors import CorruptVersionError, RegistryError

SUFFIX: Final = ".rightly.tar"
LARGEST: Final = 8 * 2**30  # bytes that one archive may unpack to
_BLOCK: Final = 512
_CHUNK: Final = 1 << 20
_SUFFIXES: Final = ("onnx", "safetensors", "json", "png", "npy", "toml", "txt", "md")
_PART: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_PATH: Final = re.compile(rf"(?:{_PART}/){{0,2}}{_PART}\.(?:{'|'.join(_SUFFIXES)})")
_LONGEST_PATH: Final = 99  # what a ustar header holds


def check_path(path: str) -> None:
    """Refuse a path that has no place in a version.

    Raises:
        CorruptVersionError: If it is absolute, climbs, hides, is long, lies deeper than two
            folders, or has a suffix other than those of graphs, tensors, pictures and text.
    """
    plain = _PATH.fullmatch(path) and len(path) <= _LONGEST_PATH and ".." not in path
    if not plain or path == cards.FILE:
        raise CorruptVersionError(
            f"{path[:100]!r} has no place in a version; "
            f"allowed are plain names ending in {', '.join(_SUFFIXES)}"
        )


def write(path: Path, card: Card, folder: Path) -> None:
    """Write the version in `folder` to an archive; the same version is the same bytes.

    Raises:
        RegistryError: If `path` exists already or cannot be written.
    """
    if path.exists():
        raise RegistryError(f"{path} exists already; choose another name")
    partial = path.with_name(f".{path.name}.partial")
    try:
        with tarfile.open(partial, "w:", format=tarfile.USTAR_FORMAT) as tar:
            content = cards.to_bytes(card)
            tar.addfile(_member(cards.FILE, len(content)), io.BytesIO(content))
            for name in sorted(card.files):
                with (folder / name).open("rb") as file:
                    tar.addfile(_member(name, card.files[name].bytes), file)
        partial.rename(path)
    except OSError as error:
        raise RegistryError(f"{path} cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def read_card(path: Path) -> Card:
    """Return the card of the version in an archive, without unpacking it.

    Raises:
        CorruptVersionError: If the file is no archive of a version.
        RegistryError: If it cannot be opened.
    """
    with _opened(path) as file:
        return _first_card(file, path.name)


def unpack(path: Path, folder: Path, *, largest: int = LARGEST) -> Card:
    """Write the files of the version in an archive into `folder`.

    Args:
        path: The archive.
        folder: An empty folder of ours; on an error, what is in it is not to be used.
        largest: Bytes that all files may have together.

    Returns:
        Its card, each of whose files was found and has the size and digest that it states.

    Raises:
        CorruptVersionError: If anything in it is not as its card says.
        RegistryError: If it cannot be opened.
    """
    with _opened(path) as file:
        card = _first_card(file, path.name)
        if sum(entry.bytes for entry in card.files.values()) > largest:
            raise CorruptVersionError(f"{path.name} unpacks to more than {largest} bytes")
        missing = set(card.files)
        while header := _next_header(file, path.name):
            name, size = header
            if name not in missing or size != card.files[name].bytes:
                raise CorruptVersionError(
                    f"{path.name}: {name!r} is not in the card, twice there, or of another size"
                )
            missing.discard(name)
            if durable.create(folder / name, _content(file, size, path.name)) != (
                size,
                card.files[name].sha256,
            ):
                raise CorruptVersionError(f"{path.name}: {name} is not what its card says")
        if missing:
            raise CorruptVersionError(f"{path.name} lacks {', '.join(sorted(missing))}")
        return card


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise RegistryError(f"{path} cannot be opened: {error.strerror}") from error
    with file:
        yield file


def _first_card(file: BinaryIO, what: str) -> Card:
    header = _next_header(file, what)
    if header is None or header[0] != cards.FILE or header[1] > cards.LARGEST:
        raise CorruptVersionError(f"{what} does not begin with a {cards.FILE}")
    card = cards.from_bytes(b"".join(_content(file, header[1], what)), what)
    for name in card.files:
        check_path(name)
    return card


def _next_header(file: BinaryIO, what: str) -> tuple[str, int] | None:
    """Return the next member's name and size, or None at the end of the archive."""
    block = file.read(_BLOCK)
    if block == bytes(_BLOCK):
        return None
    if len(block) < _BLOCK:
        raise CorruptVersionError(f"{what} is cut off, or no archive of a version")
    try:
        name = block[:100].rstrip(b"\0").decode("ascii")
        size = int(block[124:136].rstrip(b"\0 ").decode("ascii"), 8)
        stated = int(block[148:156].rstrip(b"\0 ").decode("ascii"), 8)
    except ValueError as error:
        raise CorruptVersionError(f"{what} is no archive of a version") from error
    counted = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if block[257:263] != b"ustar\0" or stated != counted or size < 0:
        raise CorruptVersionError(f"{what} is no archive of a version")
    if block[156:157] != b"0" or block[345]:  # not a regular file, or a name in two parts
        raise CorruptVersionError(
            f"{what}: {name!r} is a link, a device or another special member"
        )
    return name, size


def _content(file: BinaryIO, size: int, what: str) -> Iterator[bytes]:
    """Return the `size` bytes that follow in chunks, and go on to the next header."""
    left = size
    while left:
        chunk = file.read(min(left, _CHUNK))
        if not chunk:
            raise CorruptVersionError(f"{what} ends in the middle of a file")
        left -= len(chunk)
        yield chunk
    file.read(-size % _BLOCK)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o444
    return member
