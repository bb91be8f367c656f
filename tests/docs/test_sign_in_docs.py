"""The page about sign-in names verbs, settings and roles that exist."""

import re
import shlex
import tomllib
from pathlib import Path

from services.access import opening, roles
from services.access.principals import Role
from services.commands import cli_reference as reference
from services.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs/how-to/sign-in.md").read_text("utf-8")


def test_every_verb_exists() -> None:
    commands = [shlex.split(line[2:]) for line in PAGE.splitlines() if line.startswith("$ ")]
    words = [[each for each in words if "=" not in each] for words in commands]
    spoken = [each for each in words if each[0] == "rightly"]

    assert len(spoken) >= 4
    for each in spoken:
        assert " ".join(each[:3] if each[1] == "keys" else each[:2]) in reference.verbs()


def test_every_setting_exists() -> None:
    named = {each.lower() for each in re.findall(r"RIGHTLY_([A-Z_]+)", PAGE)}

    assert named <= set(Settings.model_fields)


def test_the_example_of_a_provider_would_start() -> None:
    written = tomllib.loads(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[0])

    opening.check(Settings(**written))


def test_the_table_of_roles_is_whole() -> None:
    named = re.findall(r"^\| (\w+) \|", PAGE, re.MULTILINE)[1:]

    assert [each.word for each in Role if each is not Role.ANYONE] == named
    assert set(roles.ROLES.values()) == set(Role)
