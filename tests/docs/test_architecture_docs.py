"""The walks of docs/architecture.md name functions that exist; every decision is listed."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text("utf-8")
NAMES = re.findall(r"`((?:services|models|audit)[\w.]*:[\w.]+)`", PAGE)


def resolve(name: str) -> object:
    module, _, path = name.partition(":")
    found: object = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def test_the_page_walks() -> None:
    assert len(NAMES) > 15


@pytest.mark.parametrize("name", NAMES)
def test_every_step_of_a_walk_is_there(name) -> None:
    assert callable(resolve(name))


def test_that_the_check_above_can_fail() -> None:
    with pytest.raises(AttributeError):
        resolve("audit.gate:nothing")


def test_every_room_of_services_is_described() -> None:
    rooms = {each.parent.name for each in (ROOT / "services").glob("*/__init__.py")}

    assert rooms
    assert {each for each in rooms if f"`{each}/`" not in PAGE} == set()


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text("utf-8")

    assert [each.name for each in folder.glob("0*.md") if f"({each.name})" not in index] == []
    for number in ("0006", "0007"):
        assert number in index, "a gap in the numbers is explained"
