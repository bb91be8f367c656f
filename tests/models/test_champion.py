"""The champion pointer against a plain list: any order of moves, by any number of registries."""

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from models.errors import UnknownModelError, VersionConflictError
from models.registry import Registry
from tests import graphs

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SAID = {"reason": "why", "actor": "who", "now": NOW}


class Pointers(RuleBasedStateMachine):
    """`standing` is the truth: promotions pile up, a rollback takes the top one off."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.registry = Registry(self.folder / "registry")
        self.versions = 0
        self.standing: list[int] = []
        self.moves = 0
        self.add()

    @precondition(lambda self: self.versions < 3)
    @rule()
    def add(self) -> None:
        source = graphs.write_version(self.folder / "source", gain=float(self.versions + 1))
        added = self.registry.add("tiny", source, now=NOW)
        self.versions += 1

        assert added.ref.version == self.versions

    @rule(data=st.data())
    def promote(self, data: st.DataObject) -> None:
        version = data.draw(st.integers(1, self.versions))
        self.registry.promote("tiny", version, **SAID)
        if self.standing[-1:] != [version]:
            self.standing.append(version)
            self.moves += 1

    @rule(data=st.data())
    def promote_an_expected_one(self, data: st.DataObject) -> None:
        version = data.draw(st.integers(1, self.versions))
        expected = data.draw(st.integers(0, self.versions))
        if (self.standing[-1:] or [0]) != [expected]:
            with pytest.raises(VersionConflictError):
                self.registry.promote("tiny", version, **SAID, expected=expected)
            return
        self.registry.promote("tiny", version, **SAID, expected=expected)
        if version != expected:
            self.standing.append(version)
            self.moves += 1

    @rule()
    def promote_one_that_is_not_there(self) -> None:
        with pytest.raises(UnknownModelError):
            self.registry.promote("tiny", self.versions + 1, **SAID)

    @rule()
    def rollback(self) -> None:
        if len(self.standing) < 2:
            with pytest.raises((VersionConflictError, UnknownModelError)):
                self.registry.rollback("tiny", **SAID)
            return
        self.registry.rollback("tiny", **SAID)
        self.standing.pop()
        self.moves += 1

    @rule()
    def reopen(self) -> None:
        self.registry = Registry(self.folder / "registry")

    @invariant()
    def the_pointer_is_the_last_that_stands(self) -> None:
        pointer = self.registry.pointer("tiny")

        assert (self.standing[-1] if self.standing else None) == pointer.version
        assert list(range(1, self.moves + 1)) == [move.sequence for move in pointer.history]
        if self.standing:
            champion = self.registry.champion("tiny")
            assert champion.ref.digest == pointer.digest

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class TestPointers(Pointers.TestCase):
    settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
