"""`rightly work`, `rightly retrain` and `rightly retrainings`: the loop from the command line."""

import codecs
import json as json_module
import signal
import sys
import threading
import time
from collections import defaultdict
from typing import Annotated, Any, Literal

import typer

from audit import change_control
from models.registry import Registry
from services import clock, settings
from services.commands import terminal, versions
from services.retraining import asking
from services.retraining.jobs import launching, progress
from services.retraining.jobs.launchers import pages
from services.retraining.rows import Request, Retraining, Rows, open_rows

_LOOK_SECONDS = 0.5

Model = Annotated[str | None, typer.Argument(help="The model. Setting: default_model.")]
Id = Annotated[str, typer.Argument(metavar="RETRAINING", help="As `retrain` printed it.")]


def work() -> None:
    """Run the retrainings that are asked for, until a signal ends it."""
    from services import logs as lines
    from services.retraining import runner

    chosen = settings.load()
    lines.configure(chosen.log)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    runner.run(chosen, stop)
    runner.leave()


def retrain(
    model: Model = None,
    *,
    reason: versions.Reason,
    objective: Annotated[
        str, typer.Option(help="auto chooses; rrr, exbl, gradcam_penalty, erm.")
    ] = "auto",
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="NAME=NUMBER: weight, epochs, learning_rate, seed; repeatable."
        ),
    ] = None,
    key: Annotated[str | None, typer.Option(help="Asking again with it asks once.")] = None,
    priority: Annotated[
        Literal["high", "normal", "low"], typer.Option(help="Which of several learns first.")
    ] = "normal",
    when_quiet: versions.WhenQuiet = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show the logs until it has ended.")
    ] = False,
) -> None:
    """Ask for a retraining; `rightly serve`, `up` or `work` does it."""
    chosen = settings.load()
    numbers = {
        name: float(value) for name, _, value in (each.partition("=") for each in setting or ())
    }
    request = Request(
        model or versions.default(chosen),
        objective,
        reason,
        versions.actor(),
        hyperparameters=numbers,
        priority=priority,
        when_quiet=when_quiet or "",
    )
    plan = change_control.load(chosen.change_control or change_control.DEFAULT)
    with open_rows(chosen.retraining_store) as rows:
        made = asking.ask(rows, Registry(chosen.registry), plan, request, key=key, now=clock.now())
        terminal.say(f"retraining [bold]{made.retraining_id}[/] of {request.model}: {made.status}")
        if follow:
            _follow(rows, made.retraining_id)


def list_retrainings(
    model: Annotated[str | None, typer.Argument(help="Only of this model.")] = None,
    *,
    json: versions.Json = False,
) -> None:
    """List the retrainings, newest first."""
    with open_rows(settings.load().retraining_store) as rows:
        found = rows.page(model=model, limit=100)
    if json:
        terminal.print_json([_plain(each) for each in found])
        return
    shown = terminal.table("", "retraining", "model", "status", "step", "candidate", "outcome")
    for each in found:
        candidate = str(each.facts.get("candidate", ""))
        outcome = each.reason.replace("[", r"\[")
        shown.add_row(
            each.retraining_id, each.request.model, each.status, each.step, candidate, outcome
        )
    terminal.console.print(shown)


def logs(
    retraining: Id,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until it has ended.")
    ] = False,
) -> None:
    """Print what happened to a retraining and what its training printed."""
    with open_rows(settings.load().retraining_store) as rows:
        rows.get(retraining)
        for at, what in rows.events(retraining):
            terminal.say(f"{at:%H:%M:%S}  {what}".replace("[", r"\["))
        _follow(rows, retraining, once=not follow)


def cancel(retraining: Id) -> None:
    """Ask a retraining to end; the champion stays."""
    with open_rows(settings.load().retraining_store) as rows:
        found = rows.cancel(retraining, actor=versions.actor(), now=clock.now())
    terminal.say(f"{retraining}: {'cancelled' if found.ended else 'will end within seconds'}")


def approve(
    retraining: Id,
    *,
    reason: versions.Reason,
    refuse: Annotated[bool, typer.Option("--refuse", help="Refuse it instead.")] = False,
) -> None:
    """Agree that a candidate which the gate has passed is promoted, or refuse it."""
    from services.retraining.rows import Approval

    said = Approval(versions.actor(), not refuse, reason, clock.now())
    with open_rows(settings.load().retraining_store) as rows:
        rows.approve(retraining, said)
    terminal.say(f"{retraining}: {said.actor} {'refuses' if refuse else 'approves'}")


def _follow(rows: Rows, retraining_id: str, *, once: bool = False) -> None:
    """Print the output of every attempt, until the retraining has ended."""
    chosen = settings.load()
    launcher, offsets = launching.of(chosen), dict[Any, int]()
    # A page may end within a character.
    decoders = defaultdict[Any, Any](lambda: codecs.getincrementaldecoder("utf-8")("replace"))
    while True:
        found = rows.get(retraining_id)
        for key in progress.attempts(chosen.retrainings, found):
            for part, offset in pages(launcher, key, offsets.get(key, 0)):
                sys.stdout.write(decoders[key].decode(part))
                offsets[key] = offset
            sys.stdout.flush()
        if once:
            return
        if found.ended:
            terminal.say(f"{found.status}: {found.reason}".replace("[", r"\["))
            raise typer.Exit(0 if found.status == "promoted" else terminal.FAILED)
        time.sleep(_LOOK_SECONDS)


def _plain(found: Retraining) -> dict[str, Any]:
    return {
        "retraining_id": found.retraining_id,
        "status": found.status,
        "step": found.step,
        "outcome": found.reason,
        "request": json_module.loads(found.request.to_text()),
        **found.facts,
    }
