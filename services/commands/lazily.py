"""Groups of commands of which only the one that is asked for is imported.

`rightly --help` lists some thirty commands; importing what all of them need takes longer than
most of them run. A group knows where each command's function is, and reads the line that the
listing shows out of the source, so that nothing is said twice.
"""

import ast
import importlib
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import typer

from services.commands.terminal import ReadableGroup

_PACKAGE: Final = "services.commands"
_GAP: Final = 6  # columns of a listing that are neither name nor help


class Verbs(Mapping[str, Any]):
    """The commands of a group by name, each made when it is first taken.

    Args:
        functions: Name → "module:function" within `services.commands`.
        groups: Name → group below this one.
    """

    def __init__(self, functions: Mapping[str, str], groups: Mapping[str, "LazyGroup"]) -> None:
        self.functions, self.groups = functions, groups
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - typer's own type is private
        """Return the command; import what it needs."""
        if name in self.groups:
            return self.groups[name]
        if name not in self._made:
            self._made[name] = _command(name, _function(self.functions[name]))
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        """Return the names, commands first."""
        return iter([*self.functions, *self.groups])

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.functions) + len(self.groups)

    def line(self, name: str) -> str:
        """Return the first line of a command's help, without importing it."""
        if name in self.groups:
            return str(self.groups[name].help)
        module, _, function = self.functions[name].partition(":")
        return _docstring(f"{_PACKAGE}.{module}", function).partition("\n")[0]


class LazyGroup(ReadableGroup):
    """A group of verbs."""

    verbs: Verbs

    @classmethod
    def of(cls, name: str, told: str, functions: Mapping[str, str]) -> "LazyGroup":
        """Return a group below the root."""
        made = cls(name=name, help=told, no_args_is_help=True, rich_markup_mode=None)
        made._hold(Verbs(functions, {}))
        return made

    def _hold(self, verbs: Verbs) -> None:
        self.verbs = verbs
        self.commands = verbs  # type: ignore[assignment]  # nothing is added to it

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - typer's
        """List the verbs with the first line of each one's help."""
        width = formatter.width - _GAP - max(map(len, self.verbs))
        rows = [(name, _shortened(self.verbs.line(name), width)) for name in self.verbs]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def root(functions: Mapping[str, str], groups: Mapping[str, LazyGroup]) -> type[LazyGroup]:
    """Return the class of the outermost group, as `typer.Typer(cls=…)` takes one."""

    class Root(LazyGroup):
        """The outermost group."""

        def __init__(self, **given: Any) -> None:  # noqa: ANN401 - typer's own arguments
            super().__init__(**given)
            self._hold(Verbs(functions, groups))

    return Root


def _function(where: str) -> Callable[..., None]:
    module, _, name = where.partition(":")
    found: Callable[..., None] = getattr(importlib.import_module(f"{_PACKAGE}.{module}"), name)
    return found


def _command(name: str, function: Callable[..., None]) -> Any:  # noqa: ANN401 - typer's type is private
    alone = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    alone.command(name)(function)
    return typer.main.get_command(alone)


def _docstring(module: str, function: str) -> str:
    """Return a function's docstring, read from the source without running it."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module {module}", name=module)
    for node in ast.parse(Path(spec.origin).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return ast.get_docstring(node) or ""
    raise AttributeError(f"{module} has no function {function}")


def _shortened(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 2].rpartition(" ")[0] + "..."
