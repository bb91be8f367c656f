"""The page of every command, made from the commands themselves.

`python -m services.commands.cli_reference > docs/cli.md` writes it anew; a test compares.
"""

from collections.abc import Iterator
from typing import Any

import typer

from services.commands.cli import app

_HEAD = """# The command line

Made from the commands by `python -m services.commands.cli_reference > docs/cli.md`; do not edit.

What is refused is said in one line on the standard error, with exit status 1; a wrong use ends
with status 2. `--json` prints for programs. Where the registry and everything else lies is a
setting: `RIGHTLY_HOME=/srv/rightly rightly models list`.
"""


def page() -> str:
    """Return the Markdown page of every command."""
    return "\n".join([_HEAD, *_sections(typer.main.get_command(app), "rightly")])


def verbs() -> list[str]:
    """Return every command in full, for example "rightly models list"."""
    return [path for path, _ in _commands(typer.main.get_command(app), "rightly")]


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - typer's type is private
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _commands(inner, f"{path} {name}")
    else:
        yield path, command


def _sections(command: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - typer's type is private
    for name, each in _commands(command, path):
        given = [p for p in each.params if p.param_type_name == "argument"]
        words = " ".join(_argument(each_argument) for each_argument in given)
        yield f"## `{name}{' ' if words else ''}{words}`\n"
        yield f"{each.help}\n"
        rows = [f"| `{_argument(p)}` | {p.help} |" for p in given]
        rows += [
            f"| `{_option(p)}` | {p.help}{' Required.' if p.required else ''} |"
            for p in each.params
            if p.param_type_name == "option" and p.name != "help"
        ]
        if rows:
            yield "\n".join(["| what | meaning |", "|---|---|", *rows, ""])


def _argument(parameter: Any) -> str:  # noqa: ANN401 - typer's type is private
    word = (parameter.metavar or parameter.name).strip("[]").removesuffix("...").upper()
    return word if parameter.required else f"[{word}]"


def _option(parameter: Any) -> str:  # noqa: ANN401 - typer's type is private
    words = "/".join([*parameter.opts, *parameter.secondary_opts])
    return words if parameter.is_flag else f"{words} {parameter.name.upper()}"


if __name__ == "__main__":
    typer.echo(page(), nl=False)
