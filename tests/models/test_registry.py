"""The registry: versions that never change, a pointer that never lies."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models import cards, contract, samples
from models.cards import CardFields, Lineage
from models.errors import (
    CorruptVersionError,
    GraphRejectedError,
    RegistryError,
    UnknownModelError,
    VersionConflictError,
)
from models.registry import Registry, Version
from tests import graphs

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FIELDS = CardFields(
    measures={"accuracy": 0.97, "per_class": {"red": 1.0}},
    lineage=Lineage(dataset="sha256:00", recipe={"objective": "cross_entropy"}, seeds=(3,)),
    parity={"tolerance": 1e-4},
    note="by hand",
)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


def add(registry: Registry, gain: float, name: str = "tiny") -> Version:
    source = registry.root.parent / f"source-{gain}"
    graphs.write_version(source, gain=gain)
    patches = [graphs.patch(colour) for colour in graphs.CLASSES]
    samples.write(source, [samples.Sample(*each) for each in zip(patches, graphs.CLASSES)])  # noqa: B905
    return registry.add(name, source, FIELDS, now=NOW)


def promote(registry: Registry, version: int, **more: int) -> Version:
    return registry.promote("tiny", version, reason="better", actor="test", now=NOW, **more)


def rollback(registry: Registry, **more: int) -> Version:
    return registry.rollback("tiny", reason="worse", actor="test", now=NOW, **more)


def test_an_empty_registry_has_no_models(registry: Registry) -> None:
    assert registry.models() == []
    for ask in (registry.versions, registry.champion):
        with pytest.raises(UnknownModelError, match="there are none"):
            ask("tiny")


def test_add_files_a_version_with_its_card(registry: Registry) -> None:
    added = add(registry, 1.0)
    reopened = Registry(registry.root).version("tiny", 1)

    assert added == reopened
    assert reopened.ref.version == 1
    assert reopened.ref.digest.startswith("sha256:")
    assert graphs.spec() == reopened.card.spec
    assert FIELDS == reopened.card.fields
    assert NOW.isoformat() == reopened.card.created_at
    assert {"predict.onnx", "explain.onnx", "weights.safetensors", "samples/00.png"} < set(
        reopened.card.files
    )
    assert json.loads((added.folder / "card.json").read_bytes()) == reopened.card.as_json()
    assert "numpy" in reopened.card.fields.lineage.libraries
    registry.verify(reopened)


def test_versions_count_up_and_models_are_listed(registry: Registry) -> None:
    for gain in (1.0, 2.0, 3.0):
        add(registry, gain)
    add(registry, 1.0, "another")

    assert registry.models() == ["another", "tiny"]
    assert [1, 2, 3] == [each.ref.version for each in registry.versions("tiny")]
    with pytest.raises(UnknownModelError, match="there are 1, 2, 3"):
        registry.version("tiny", 4)
    with pytest.raises(UnknownModelError, match="there are another, tiny"):
        registry.versions("absent")


def test_the_digest_names_the_content_not_the_place(registry: Registry, tmp_path: Path) -> None:
    first = add(registry, 1.0)
    elsewhere = add(registry, 1.0, "copy")
    later = Registry(tmp_path / "later").add(
        "tiny", tmp_path / "source-1.0", FIELDS, now=NOW + timedelta(days=1)
    )
    other = registry.add("tiny", tmp_path / "source-1.0", CardFields(note="other"), now=NOW)

    assert first.ref.digest == elsewhere.ref.digest == later.ref.digest
    assert other.ref.digest != first.ref.digest


def test_adding_the_same_content_again_is_the_same_version(registry: Registry) -> None:
    assert add(registry, 1.0) == add(registry, 1.0)
    assert len(registry.versions("tiny")) == 1


@pytest.mark.parametrize(
    "name", ["", "Tiny", "tiny-", "a/b", "..", ".hidden", "a" * 64, "tiny\n", "é"]
)
def test_a_name_that_could_leave_the_folder_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(UnknownModelError, match="cannot name a model"):
        add(registry, 1.0, name)


def test_add_refuses_graphs_that_break_the_contract(registry: Registry, tmp_path: Path) -> None:
    source = graphs.write_version(tmp_path / "source")
    (source / "explain.onnx").write_bytes((source / "predict.onnx").read_bytes())

    with pytest.raises(GraphRejectedError):
        registry.add("tiny", source, now=NOW)

    assert registry.models() == []
    assert list((registry.root / "tiny" / "versions").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["weights.pt", "model.pkl", ".hidden.json", "a b.json", "x/y/z/w.json"]
)
def test_add_refuses_a_file_that_has_no_place(
    registry: Registry, tmp_path: Path, name: str
) -> None:
    source = graphs.write_version(tmp_path / "source")
    (source / name).parent.mkdir(parents=True, exist_ok=True)
    (source / name).write_bytes(b"x")

    with pytest.raises(CorruptVersionError, match="has no place"):
        registry.add("tiny", source, now=NOW)


def test_add_refuses_links(registry: Registry, tmp_path: Path) -> None:
    source = graphs.write_version(tmp_path / "source")
    (source / "notes.txt").symlink_to("/etc/hostname")

    with pytest.raises(CorruptVersionError, match="link"):
        registry.add("tiny", source, now=NOW)


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"bytes"])
def test_add_refuses_measures_that_are_not_json(registry: Registry, tmp_path: Path, value) -> None:
    source = graphs.write_version(tmp_path / "source")

    with pytest.raises(RegistryError, match="JSON"):
        registry.add("tiny", source, CardFields(measures={"x": value}), now=NOW)
    assert registry.models() == []


def test_the_files_of_a_version_are_read_only(registry: Registry) -> None:
    folder = add(registry, 1.0).folder

    assert {0o444} == {
        path.stat().st_mode & 0o777
        for path in folder.rglob("*")
        if path.is_file() and path.name != "card.json"
    }


def change_a_bit(folder: Path) -> None:
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def remove_a_file(folder: Path) -> None:
    (folder / "explain.onnx").unlink()


def add_a_file(folder: Path) -> None:
    (folder / "extra.json").write_text("{}")


def link_a_file(folder: Path) -> None:
    shutil.copy(folder / "predict.onnx", folder.parent / "elsewhere")
    (folder / "predict.onnx").unlink()
    (folder / "predict.onnx").symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize("change", [change_a_bit, remove_a_file, add_a_file, link_a_file])
def test_verify_and_promote_see_a_changed_version(registry: Registry, change) -> None:
    version = add(registry, 1.0)
    change(version.folder)

    with pytest.raises(CorruptVersionError):
        registry.verify(version)
    with pytest.raises(CorruptVersionError):
        promote(registry, 1)
    assert registry.pointer("tiny").version is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"accuracy": 0.97', '"accuracy": 0.99'),
        ('"red"', '"rad"'),
        ('"format": 1', '"format": 2'),
        ('"version": 1', '"version": 2'),
        ("{", "["),
        ("0.97", "NaN"),
        ('"parent": null', '"parent": {}'),
    ],
)
def test_a_changed_card_is_seen_when_it_is_read(registry: Registry, old: str, new: str) -> None:
    path = add(registry, 1.0).folder / "card.json"
    path.write_text(path.read_text().replace(old, new))

    with pytest.raises(CorruptVersionError):
        registry.version("tiny", 1)


def test_the_pointer_moves_and_comes_back_with_its_history(registry: Registry) -> None:
    for gain in (1.0, 2.0, 3.0):
        add(registry, gain)
    with pytest.raises(UnknownModelError, match="no champion yet"):
        registry.champion("tiny")
    promote(registry, 1, expected=0)
    promote(registry, 3)
    promote(registry, 2, expected=3)

    assert rollback(registry, expected=2).ref.version == 3
    assert rollback(registry).ref.version == 1
    with pytest.raises(VersionConflictError, match="no earlier champion"):
        rollback(registry)
    assert registry.champion("tiny") == registry.version("tiny", 1)
    assert [
        (1, "promote", 1, None),
        (2, "promote", 3, 1),
        (3, "promote", 2, 3),
        (4, "rollback", 3, 2),
        (5, "rollback", 1, 3),
    ] == [(m.sequence, m.action, m.version, m.previous) for m in registry.history("tiny")]


def test_promoting_the_champion_again_changes_nothing(registry: Registry) -> None:
    add(registry, 1.0)

    promote(registry, 1)
    promote(registry, 1)

    assert len(registry.history("tiny")) == 1


@pytest.mark.parametrize("expected", [0, 2, 7])
def test_a_pointer_that_was_moved_meanwhile_is_not_moved(
    registry: Registry, expected: int
) -> None:
    add(registry, 1.0)
    add(registry, 2.0)
    promote(registry, 1)

    with pytest.raises(VersionConflictError, match="moved meanwhile"):
        promote(registry, 2, expected=expected)
    with pytest.raises(VersionConflictError, match="moved meanwhile"):
        rollback(registry, expected=expected)

    assert registry.pointer("tiny").version == 1


def test_a_damaged_pointer_is_an_error_not_an_empty_one(registry: Registry) -> None:
    add(registry, 1.0)
    promote(registry, 1)
    (registry.root / "tiny" / "champion.json").write_text('{"format": 1}')

    with pytest.raises(CorruptVersionError, match=r"champion\.json"):
        registry.champion("tiny")


def test_of_many_promotions_with_one_expectation_one_succeeds(registry: Registry) -> None:
    """Compare-and-set among threads, each with a registry of its own as a process would have."""
    add(registry, 1.0)
    add(registry, 2.0)
    promote(registry, 1)
    outcomes = []
    start = threading.Barrier(8)

    def attempt() -> None:
        own = Registry(registry.root)
        start.wait()
        try:
            promote(own, 2, expected=1)
            outcomes.append("moved")
        except VersionConflictError:
            outcomes.append("conflict")

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["conflict"] * 7 + ["moved"]


FLIPPING = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from models.errors import VersionConflictError
from models.registry import Registry

registry, moved = Registry(Path(sys.argv[1])), 0
for _ in range(40):
    seen = registry.pointer("tiny").version
    try:
        registry.promote("tiny", 3 - seen, reason="flip", actor=sys.argv[2],
                         now=datetime(2026, 1, 1, tzinfo=UTC), expected=seen)
        moved += 1
    except VersionConflictError:
        pass
print(moved)
"""


def test_processes_that_move_one_pointer_lose_no_move(registry: Registry) -> None:
    add(registry, 1.0)
    add(registry, 2.0)
    promote(registry, 1)

    running = [
        subprocess.Popen(
            [sys.executable, "-c", FLIPPING, str(registry.root), str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    moved = sum(int(each.communicate()[0]) for each in running)
    history = registry.history("tiny")

    assert moved >= 40, "somebody always wins"
    assert moved + 1 == len(history)
    assert list(range(1, moved + 2)) == [move.sequence for move in history]
    assert all(
        later.previous == earlier.version != later.version
        for earlier, later in itertools.pairwise(history)
    )


def test_processes_that_add_at_once_get_a_number_each(registry: Registry, tmp_path: Path) -> None:
    outcomes: list[int] = []

    def adding(gain: float) -> None:
        graphs.write_version(tmp_path / str(gain), gain=gain)
        own = Registry(registry.root)
        outcomes.append(own.add("tiny", tmp_path / str(gain), now=NOW).ref.version)

    threads = [threading.Thread(target=adding, args=(float(gain),)) for gain in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [1, 2, 3, 4, 5, 6] == sorted(outcomes)
    for version in registry.versions("tiny"):
        registry.verify(version)


ADDING = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from models.registry import Registry
Registry(Path(sys.argv[1])).add("tiny", Path(sys.argv[2]), now=datetime(2026, 1, 1, tzinfo=UTC))
"""


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05])
def test_a_version_that_was_killed_half_written_is_invisible(
    registry: Registry, tmp_path: Path, delay: float
) -> None:
    """Kill -9 in mid-copy: nothing to see, nothing in the way of the next one."""
    source = graphs.write_version(tmp_path / "source")
    with (source / "ballast.npy").open("wb") as file:
        file.truncate(400_000_000)
    adding = subprocess.Popen(
        [sys.executable, "-c", ADDING, str(registry.root), str(source)], stderr=subprocess.DEVNULL
    )
    incoming = registry.root / "tiny" / "versions" / ".incoming"
    while not (incoming / "ballast.npy").exists():
        assert adding.poll() is None
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(adding.pid, signal.SIGKILL)
    adding.wait()

    assert incoming.exists(), "it was killed in the middle"
    assert registry.models() == []
    (source / "ballast.npy").unlink()
    added = registry.add("tiny", source, now=NOW)
    registry.verify(added)
    assert added.ref.version == 1
    assert not incoming.exists()


def test_a_pointer_that_was_killed_half_written_is_the_old_one(registry: Registry) -> None:
    add(registry, 1.0)
    add(registry, 2.0)
    promote(registry, 1)
    (registry.root / "tiny" / ".champion.json.partial").write_text('{"format": 1, "hist')

    assert registry.champion("tiny").ref.version == 1
    assert promote(registry, 2).ref.version == 2
    assert registry.champion("tiny").ref.version == 2


def test_adopt_files_a_version_of_another_registry_under_its_digest(
    registry: Registry, tmp_path: Path
) -> None:
    origin = add(registry, 1.0)
    other = Registry(tmp_path / "other")
    other.add("tiny", graphs.write_version(tmp_path / "first", gain=9.0), now=NOW)

    adopted = other.adopt(origin.folder)

    assert adopted.ref.version == 2
    assert origin.ref.digest == adopted.ref.digest
    assert origin.card.created_at == adopted.card.created_at
    other.verify(adopted)


@pytest.mark.parametrize("change", [change_a_bit, remove_a_file, add_a_file, link_a_file])
def test_adopt_refuses_a_changed_version(registry: Registry, tmp_path: Path, change) -> None:
    origin = add(registry, 1.0)
    change(origin.folder)

    with pytest.raises(CorruptVersionError):
        Registry(tmp_path / "other").adopt(origin.folder)


def test_a_card_of_another_classifier_is_refused(registry: Registry, tmp_path: Path) -> None:
    """The digests fit, yet the graphs say they are something else than the card says."""
    origin = add(registry, 1.0)
    card = origin.card
    forged = cards.Card(
        card.name, 1, card.created_at, graphs.spec(("a", "b", "c")), card.files, card.fields
    )
    folder = tmp_path / "forged"
    shutil.copytree(origin.folder, folder)
    (folder / "card.json").unlink()
    (folder / "card.json").write_bytes(cards.to_bytes(forged))

    with pytest.raises(CorruptVersionError, match="not of the classifier"):
        Registry(tmp_path / "other").adopt(folder)


def test_samples_travel_with_the_version(registry: Registry) -> None:
    found = samples.read(add(registry, 1.0).folder)

    assert list(graphs.CLASSES) == [each.label for each in found]
    assert all(each.image.is_file() and each.region is None for each in found)


def test_samples_cannot_point_elsewhere(tmp_path: Path) -> None:
    samples.write(tmp_path, [samples.Sample(graphs.patch("red"), "red")])
    index = tmp_path / "samples" / "samples.json"
    index.write_text(index.read_text().replace("00.png", "../../secret.png"))

    with pytest.raises(CorruptVersionError, match="not beside it"):
        samples.read(tmp_path)


def test_the_registry_accepts_what_the_contract_accepts(registry: Registry) -> None:
    assert contract.check_folder(add(registry, 1.0).folder) == graphs.spec()
