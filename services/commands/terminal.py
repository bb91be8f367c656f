"""How commands speak: tables and bars for people, JSON for programs, one line for an error."""

import json
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer.core import TyperGroup

_LINE_SHARE = 0.05
FAILED = 1
INTERRUPTED = 128 + signal.SIGINT

console = Console()
_errors = Console(stderr=True)


class Report(Protocol):
    """Told what is being done and the share that is done, in [0, 1]."""

    def __call__(self, step: str, share: float, /) -> None:
        """Show it."""
        ...


class ReadableGroup(TyperGroup):
    """Says what we refuse in one line; anything else is our own fault and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own type is private
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error
        except _refusals() as error:
            if isinstance(error, BrokenPipeError):  # the reader of a pipe has seen enough
                raise
            from services import boundary

            fail(boundary.sentence(error))


def fail(error: Exception | str) -> NoReturn:
    """Say what went wrong and end the command.

    Raises:
        Exit: Always.
    """
    _errors.print(f"[bold red]error:[/] [red]{plain(error)}[/]", soft_wrap=True, highlight=False)
    raise typer.Exit(FAILED)


def say(text: str) -> None:
    """Print a line for people; `[bold]…[/]` and the like are rich's markup."""
    console.print(text, soft_wrap=True, highlight=False)


def warn(text: str) -> None:
    """Say on the error stream what is no reason to end, but wants a look."""
    _errors.print(f"[bold yellow]warning:[/] {plain(text)}", soft_wrap=True)


@contextmanager
def warnings_in_words() -> Iterator[None]:
    """Show what the block warns of as lines for people, without file and line of the code."""

    def show(message: Warning | str, *_rest: object) -> None:
        warn(str(message))

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]  # put back by catch_warnings
        yield


def print_json(value: object) -> None:
    """Print JSON for programs, as it is."""
    typer.echo(json.dumps(value, indent=2))


def table(title: str, *columns: str) -> Table:
    """Return an empty table with these columns."""
    made = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


@contextmanager
def progress(*, lines: bool = False) -> Iterator[Report]:
    """Show a bar while the block runs, moved by the function that it is given.

    Args:
        lines: Where nobody looks, as in a pipe or a log, print a line for each twentieth instead:
            for what takes minutes.
    """
    if not _errors.is_terminal:
        yield _lines() if lines else _silence
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_errors, transient=True) as shown:
        task = shown.add_task("", total=1.0)

        def report(step: str, share: float, /) -> None:
            shown.update(task, description=step, completed=share)

        yield report


def _silence(_step: str, _share: float, /) -> None:
    """Show nothing."""


def _lines() -> Report:
    """Return what prints a line where something new is done, or a twentieth more of it."""
    last: list[float] = []

    def report(step: str, share: float, /) -> None:
        if not last or share < last[0] or share >= last[0] + _LINE_SHARE:
            last[:] = [share]
            _errors.print(f"{share:4.0%} {plain(step)}", soft_wrap=True, highlight=False)

    return report


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM of the block into an answer instead of an end.

    The block is given a function that says whether one has come. A second one ends the command at
    once, as it would have without. Outside the main thread no signal arrives, and none is awaited.
    """
    came: list[int] = []
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _frame: object) -> None:
        came.append(number)
        restore()

    if threading.current_thread() is threading.main_thread():
        before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        restore()


def _refusals() -> tuple[type[Exception], ...]:
    from services import boundary

    return boundary.refusals()


def plain(error: Exception | str) -> str:
    """Return the words without what rich would take for markup, on one line."""
    return " ".join(str(error).split()).replace("[", r"\[")
