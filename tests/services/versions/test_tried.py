"""A version is tried before a pointer moves to it, and once."""

import shutil

import pytest

from audit import records
from models import trying
from models.errors import GraphRejectedError
from models.registry import Registry
from services import clock
from services.records.recording import Recorder
from services.rollouts.moves import Mover
from services.versions import tried
from tests.served import MODEL, registry_of_colours


class Kept:
    """A journal that keeps what is written to it."""

    def __init__(self) -> None:
        self.events: list[records.Entry] = []

    def append(self, entries) -> None:
        self.events += [records.from_bytes(each) for each in entries]

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def registry(tmp_path) -> Registry:
    made = registry_of_colours(tmp_path, 40.0, 20.0)
    shutil.rmtree(made.root / MODEL / tried.FOLDER)
    return made


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """The versions that a child was started for; the second one does not pass."""
    seen: list[str] = []

    def check(folder) -> None:
        seen.append(folder.name)
        if folder.name == "2":
            raise GraphRejectedError("its heatmap is no number")

    monkeypatch.setattr(trying, "check", check)
    return seen


def test_what_passed_is_not_tried_again_and_what_did_not_is(registry, calls) -> None:
    for _ in range(2):
        tried.ensure(registry.version(MODEL, 1))
        with pytest.raises(GraphRejectedError):
            tried.ensure(registry.version(MODEL, 2))

    assert ["1", "2", "2"] == calls


def test_a_trial_that_cannot_be_remembered_is_made_again(registry, calls) -> None:
    (registry.root / MODEL / tried.FOLDER).write_text("a file where the folder belongs")
    for _ in range(2):
        tried.ensure(registry.version(MODEL, 1))

    assert ["1", "1"] == calls


@pytest.mark.usefixtures("calls")
def test_no_pointer_moves_to_what_cannot_be_served(registry) -> None:
    journal = Kept()
    mover = Mover(registry, Recorder(journal, b"key"), lambda: "plan")
    before = registry.pointer(MODEL)
    now = clock.now()
    with pytest.raises(GraphRejectedError, match="no number"):
        mover.promote(MODEL, 2, reason="it", actor="ann", now=now)
    with pytest.raises(GraphRejectedError, match="no number"):
        mover.begin(
            MODEL, 2, rollout_id="r1", phase="canary", share=0.5, reason="it", actor="ann", now=now
        )

    assert before == registry.pointer(MODEL)
    assert [] == journal.events


def test_going_back_asks_nothing(registry, calls) -> None:
    registry.promote(MODEL, 2, reason="it", actor="ann", now=clock.now())
    mover = Mover(registry, Recorder(Kept(), b"key"), lambda: "plan")

    assert 1 == mover.rollback(MODEL, reason="it", actor="ann", now=clock.now()).ref.version
    assert [] == calls
