"""The how-to names settings, verbs, routes and files that exist."""

import re
import shlex
from pathlib import Path

import pytest

from services import settings
from services.commands import cli_reference as reference
from services.web import rest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/audit.md").read_text("utf-8")


def commands() -> list[list[str]]:
    return [shlex.split(line[2:]) for line in PAGE.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize(
    "words", [each for each in commands() if each[0] == "rightly"], ids=" ".join
)
def test_every_verb_exists(words: list[str]) -> None:
    verb = " ".join(words[:3] if words[1] == "audit" else words[:2])

    assert verb in reference.verbs()


def test_every_route_exists() -> None:
    known = {
        route.path
        for router in rest.ROUTERS
        for route in router.routes  # type: ignore[attr-defined]
    }
    for words in (each for each in commands() if each[0] == "curl"):
        path = next(word for word in words if word.startswith("localhost"))
        wanted = path.removeprefix("localhost:3000").replace("$ID", "{prediction_id}")

        assert wanted in known


def test_every_setting_exists() -> None:
    for name in re.findall(r"RIGHTLY_([A-Z_]+)", PAGE):
        fields = settings.Settings.model_fields
        assert name.lower() in fields or any(each.startswith(name.lower()) for each in fields)


def test_every_file_exists() -> None:
    for name in re.findall(r"`(deploy/[^`]+)`", PAGE):
        assert (ROOT / name).exists()
