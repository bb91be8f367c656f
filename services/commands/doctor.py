"""`rightly doctor` and `rightly install`: what is there, what is missing, and how it gets here."""

import platform
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Final

import typer

from services import clock, settings
from services.commands import terminal
from services.commands.versions import Json
from services.parts import installing, known, progress
from services.settings import Settings

_GIGABYTE: Final = 1e9
_ROOMY: Final = 8.0  # GB: torch with CUDA takes six of them
_SAFE_SQLITE: Final = (3, 51, 3)  # from which on several writers cannot damage a log
_SIGN: Final = {
    "there": "[green]there[/]",
    "missing": "[yellow]missing[/]",
    "wrong": "[red]wrong[/]",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination.

    Attributes:
        what: What was looked at.
        state: "there", "missing" (may be left out) or "wrong" (serving needs it).
        told: Version, or what is missing.
        command: What mends it; "" where nothing has to be done.
    """

    what: str
    state: str
    told: str
    command: str = ""


def doctor(*, json: Json = False) -> None:
    """Say what is installed, what is missing, and the command for it.

    The exit status is 1 where something that serving needs is missing.
    """
    found = list(examined(settings.load()))
    if json:
        terminal.print_json([asdict(each) for each in found])
    else:
        shown = terminal.table("", "what", "state", "found", "to have it")
        for each in found:
            told = each.told.replace("[", r"\[")
            shown.add_row(each.what, _SIGN[each.state], told, each.command.replace("[", r"\["))
        terminal.console.print(shown)
    if any(each.state == "wrong" for each in found):
        raise typer.Exit(terminal.FAILED)


def install(
    part: Annotated[
        str, typer.Argument(help=", ".join(each.name for each in known.PARTS) + ".")
    ] = known.TRAINING,
    *,
    installer: Annotated[
        str, typer.Option(help="auto takes uv where it can be had, else pip; uv; pip.")
    ] = "auto",
) -> None:
    """Install a part of Rightly that is missing, into this environment."""
    if installer not in {"auto", "uv", "pip"}:
        terminal.fail(f"no installer {installer!r}; there are auto, uv and pip")
    try:
        chosen = known.part(part)
        wanted = known.requirements(chosen.extra)
    except known.UnknownPartError as error:
        terminal.fail(error)
    index = installing.torch_cpu_index() if chosen.name == known.TRAINING else None
    done = installing.install(
        wanted, told=typer.echo, installer=installer, torch_index=index, again=known.damaged()
    )
    if not done:
        terminal.fail(f"{chosen.name} could not be installed; the lines above say why")
    terminal.say(f"[bold]{chosen.name}[/] is installed: {chosen.purpose}")


def examined(chosen: Settings) -> Iterator[Finding]:
    """Return what can be said about this installation."""
    version = platform.python_version()
    yield Finding("Python", "there", f"{version}, {platform.machine()}, {sys.executable}")
    yield from _serving()
    for each in known.parts():
        yield _part(each, chosen)
    yield _sqlite()
    free = shutil.disk_usage(_existing(chosen)).free / _GIGABYTE
    yield Finding(
        "disk", "there" if free > _ROOMY else "missing", f"{free:.0f} GB free at {chosen.home}"
    )
    uv = installing.uv_version()
    yield Finding("uv", "there" if uv else "missing", uv or "pip installs, a few times slower")


def _serving() -> Iterator[Finding]:
    """Look at what answering needs."""
    try:
        lacking = known.missing("")
    except known.UnknownPartError as error:
        yield Finding("serving", "wrong", str(error), "make up")
        return
    yield Finding(
        "serving",
        "wrong" if lacking else "there",
        f"lacks {', '.join(lacking)}" if lacking else "answers with reasons",
        "make up" if lacking else "",
    )
    builds = known.runtimes()
    if len(builds) == 1:
        yield Finding("ONNX Runtime", "there", builds[0])
        return
    told = "both builds, of which only one may be there" if builds else "neither build"
    yield Finding("ONNX Runtime", "wrong", told, "make clean up")


def _part(part: known.Part, chosen: Settings) -> Finding:
    command = f"rightly install {part.name}"
    try:
        lacking = known.missing(part.extra)
    except known.UnknownPartError as error:
        return Finding(part.name, "missing", str(error), command)
    if not lacking:
        return Finding(part.name, "there", part.purpose)
    told = f"{part.purpose}; lacks {', '.join(lacking)}"
    going = progress.read(chosen.home) if part.name == known.TRAINING else None
    if going and going.state == "installing":
        told = f"being installed for {going.seconds(clock.now()):.0f} s"
    return Finding(part.name, "missing", told, command)


def _sqlite() -> Finding:
    if sqlite3.sqlite_version_info >= _SAFE_SQLITE:
        return Finding("SQLite", "there", sqlite3.sqlite_version)
    told = f"{sqlite3.sqlite_version}: one auditor at a time writes, as `rightly up` does it"
    return Finding("SQLite", "there", told)


def _existing(chosen: Settings) -> str:
    """Return the home, or the folder above it that is there already."""
    home = chosen.home.absolute()
    return str(next(each for each in (home, *home.parents) if each.exists()))
