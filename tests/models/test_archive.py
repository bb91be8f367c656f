"""An archive is read as if an enemy had made it: these are some of the enemies."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import archive, cards
from models.cards import Card, FileEntry
from models.errors import CorruptVersionError, RegistryError
from models.registry import Registry, Version
from tests import graphs

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Version:
    folder = tmp_path_factory.mktemp("origin")
    return Registry(folder / "registry").add(
        "tiny", graphs.write_version(folder / "source"), now=NOW
    )


@pytest.fixture(scope="module")
def packed(origin: Version, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "tiny.rightly.tar"
    archive.write(path, origin.card, origin.folder)
    return path


def member(
    name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type, made.linkname = size, kind, link
    return made


def hostile(
    path: Path,
    card: Card,
    members: list[tuple[tarfile.TarInfo, bytes]],
    form: int = tarfile.USTAR_FORMAT,
) -> Path:
    """Write an archive whose card is in order and whose members are not."""
    content = cards.to_bytes(card)
    with tarfile.open(path, "w:", format=form) as tar:
        tar.addfile(member(cards.FILE, len(content)), io.BytesIO(content))
        for each, data in members:
            tar.addfile(each, io.BytesIO(data))
    return path


def listing(card: Card, name: str, content: bytes) -> Card:
    """The card with one more file, correctly stated."""
    entry = FileEntry(len(content), hashlib.sha256(content).hexdigest())
    return replace(card, files={**card.files, name: entry})


def files_of(origin: Version) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [
        (member(name, entry.bytes), (origin.folder / name).read_bytes())
        for name, entry in origin.card.files.items()
    ]


def test_a_version_survives_the_round_trip(origin: Version, tmp_path: Path) -> None:
    there = Registry(origin.folder.parents[2])
    path = tmp_path / "tiny.rightly.tar"
    there.export_archive(origin, path)
    here = Registry(tmp_path / "registry")

    taken = here.import_archive(path)

    assert origin.ref == taken.ref
    assert origin.card == taken.card
    here.verify(taken)
    assert taken == here.import_archive(path), "importing twice is one version"
    assert here.import_archive(path, name="renamed").ref.digest == origin.ref.digest
    assert here.models() == ["renamed", "tiny"]


def test_the_same_version_is_the_same_bytes(origin: Version, packed: Path, tmp_path: Path) -> None:
    archive.write(tmp_path / "again", origin.card, origin.folder)

    assert packed.read_bytes() == (tmp_path / "again").read_bytes()


def test_an_archive_is_never_overwritten(origin: Version, packed: Path) -> None:
    with pytest.raises(RegistryError, match="exists already"):
        archive.write(packed, origin.card, origin.folder)


def test_an_archive_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="No such file"):
        archive.read_card(tmp_path / "absent.tar")


def climbing(card: Card) -> tuple[Card, list[tuple[tarfile.TarInfo, bytes]]]:
    return listing(card, "../outside.json", b"x"), [(member("../outside.json", 1), b"x")]


def absolute(card: Card) -> tuple[Card, list[tuple[tarfile.TarInfo, bytes]]]:
    return listing(card, "/tmp/outside.json", b"x"), [(member("/tmp/outside.json", 1), b"x")]  # noqa: S108


def hidden(card: Card) -> tuple[Card, list[tuple[tarfile.TarInfo, bytes]]]:
    return listing(card, ".bashrc.txt", b"x"), [(member(".bashrc.txt", 1), b"x")]


def program(card: Card) -> tuple[Card, list[tuple[tarfile.TarInfo, bytes]]]:
    return listing(card, "run.sh", b"x"), [(member("run.sh", 1), b"x")]


def symbolic(card: Card) -> tuple[Card, list[tuple[tarfile.TarInfo, bytes]]]:
    return listing(card, "a.txt", b""), [(member("a.txt", 0, tarfile.SYMTYPE, "/etc/passwd"), b"")]


def hard(card: Card) -> tuple[Card, list[tuple[tarfile.TarInfo, bytes]]]:
    return listing(card, "a.txt", b""), [(member("a.txt", 0, tarfile.LNKTYPE, "card.json"), b"")]


def pipe(card: Card) -> tuple[Card, list[tuple[tarfile.TarInfo, bytes]]]:
    return listing(card, "a.txt", b""), [(member("a.txt", 0, tarfile.FIFOTYPE), b"")]


def sparse(card: Card) -> tuple[Card, list[tuple[tarfile.TarInfo, bytes]]]:
    return listing(card, "a.txt", b""), [(member("a.txt", 0, tarfile.GNUTYPE_SPARSE), b"")]


def unlisted(card: Card) -> tuple[Card, list[tuple[tarfile.TarInfo, bytes]]]:
    return card, [(member("extra.json", 2), b"{}")]


def twice(card: Card) -> tuple[Card, list[tuple[tarfile.TarInfo, bytes]]]:
    return listing(card, "a.txt", b"x"), [(member("a.txt", 1), b"x"), (member("a.txt", 1), b"x")]


def other_content(card: Card) -> tuple[Card, list[tuple[tarfile.TarInfo, bytes]]]:
    return listing(card, "a.txt", b"x"), [(member("a.txt", 1), b"y")]


def other_size(card: Card) -> tuple[Card, list[tuple[tarfile.TarInfo, bytes]]]:
    return listing(card, "a.txt", b"x"), [(member("a.txt", 2), b"xy")]


def missing(card: Card) -> tuple[Card, list[tuple[tarfile.TarInfo, bytes]]]:
    return listing(card, "a.txt", b"x"), []


def second_card(card: Card) -> tuple[Card, list[tuple[tarfile.TarInfo, bytes]]]:
    return card, [(member("card.json", 2), b"{}")]


ENEMIES = [
    climbing, absolute, hidden, program, symbolic, hard, pipe, sparse,
    unlisted, twice, other_content, other_size, missing, second_card,
]  # fmt: skip


@pytest.mark.parametrize("enemy", ENEMIES)
def test_a_hostile_archive_is_refused_and_leaves_nothing(
    enemy: Callable[[Card], tuple[Card, list[tuple[tarfile.TarInfo, bytes]]]],
    origin: Version,
    tmp_path: Path,
) -> None:
    card, members = enemy(origin.card)
    path = hostile(tmp_path / "hostile.tar", card, [*files_of(origin), *members])
    registry = Registry(tmp_path / "registry")

    with pytest.raises(CorruptVersionError):
        registry.import_archive(path)

    assert registry.models() == []
    assert not list(tmp_path.rglob("outside*"))
    assert list((tmp_path / "registry").rglob("*.onnx")) == []


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_extended_headers_are_refused(form: int, origin: Version, tmp_path: Path) -> None:
    """They could rename or resize what follows; Rightly writes none."""
    long = member("a" * 150 + ".txt", 1)
    path = hostile(tmp_path / "a.tar", origin.card, [*files_of(origin), (long, b"x")], form)

    with pytest.raises(CorruptVersionError):
        archive.unpack(path, tmp_path / "out")


def test_an_archive_that_unpacks_to_too_much_is_refused_first(
    packed: Path, tmp_path: Path
) -> None:
    with pytest.raises(CorruptVersionError, match="more than 100 bytes"):
        archive.unpack(packed, tmp_path / "out", largest=100)
    assert not (tmp_path / "out").exists()


def test_a_card_that_states_a_huge_file_costs_nothing(origin: Version, tmp_path: Path) -> None:
    files = {**origin.card.files, "a.npy": FileEntry(2**62, "00")}
    path = hostile(tmp_path / "a.tar", replace(origin.card, files=files), files_of(origin))

    with pytest.raises(CorruptVersionError, match="unpacks to more"):
        archive.unpack(path, tmp_path / "out")


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_whole(
    data: st.DataObject, origin: Version, packed: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever bytes are flipped or cut off: an error of ours, or exactly the original version."""
    content = bytearray(packed.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, min(len(content), 6000) - 1))
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "a.tar").write_bytes(content)

    try:
        card = archive.unpack(folder / "a.tar", folder / "out")
    except CorruptVersionError:
        return

    assert origin.ref.digest == card.digest


@given(path=st.text(max_size=60))
def test_an_accepted_path_stays_inside(path: str) -> None:
    try:
        archive.check_path(path)
    except CorruptVersionError:
        return
    inside = Path("/root/of/version")

    assert (inside / path).resolve().is_relative_to(inside)


@pytest.mark.parametrize("path", ["predict.onnx", "samples/00.png", "samples/00.region.png"])
def test_the_paths_of_a_version_are_accepted(path: str) -> None:
    archive.check_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "card.json",
        "a",
        "a/b/c/d.json",
        "..json",
        "a/../b.json",
        "C:\\a.json",
        "a\n.json",
        "a.json\n",
        "á.json",
        "a" * 100 + ".json",
        "/a.json",
        "a//b.json",
        "weights.pt",
        "-rf.json",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(CorruptVersionError, match="no place"):
        archive.check_path(path)
