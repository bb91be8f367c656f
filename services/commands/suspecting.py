"""`rightly audit shortcuts`: what the heatmaps of live answers suggest, and what people say."""

from typing import Annotated, Literal

import typer

from services import clock, settings
from services.commands import terminal, versions
from services.commands.auditing import recorder, store
from services.commands.versions import actor as user

Model = Annotated[str | None, typer.Argument(help="Default: the default model.")]
Every = Annotated[bool, typer.Option("--all", help="Every group, also unsuspicious ones.")]
Search = Annotated[bool, typer.Option("--search", help="Have the auditor look again, now.")]
Id = Annotated[str | None, typer.Option(metavar="ID", help="Say that it is a shortcut.")]
NotId = Annotated[str | None, typer.Option(metavar="ID", help="Say that it is none.")]
Note = Annotated[str, typer.Option(help="Why; it is recorded.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
_EXAMPLES = 3


def shortcuts(
    model: Model = None,
    *,
    every: Every = False,
    search: Search = False,
    confirm: Id = None,
    dismiss: NotId = None,
    note: Note = "",
    json: Json = False,
) -> None:
    """List suspected shortcuts: answers of a class whose heatmaps look alike and unlike the rest.

    With an option it looks again, or writes down what you make of one; an auditor must run.
    """
    chosen = settings.load()
    name = model or versions.default(chosen)
    if confirm and dismiss:
        terminal.fail("a suspected shortcut is confirmed or dismissed, not both")
    if confirm or dismiss:
        _judge(name, str(confirm or dismiss), "confirmed" if confirm else "dismissed", note)
    if search:
        _note("suspicion_search", {"model": name})
    if confirm or dismiss or search:
        terminal.say("written down; a running auditor takes it from there within a moment")
        return
    _list(name, every=every, json=json)


def _list(model: str, *, every: bool, json: bool) -> None:
    from audit.clusters import SUSPICIOUS
    from audit.store import suspicions

    wanted = suspicions.Wanted(model, least=0.0 if every else SUSPICIOUS)
    with store(settings.load()).connected() as connection:
        rows = suspicions.listed(connection, wanted, limit=500)
    if json:
        terminal.print_json([dict(row) for row in rows])
        return
    if not rows:
        terminal.say(f"nothing suspicious in the heatmaps of {model}; look now with --search")
        return
    shown = terminal.table("", "id", "class", "score", "answers", "where", "verdict", "examples")
    for row in rows:
        grid = row["heatmap"]
        top = max(range(len(grid)), key=lambda line: max(grid[line]))
        left = grid[top].index(max(grid[top]))
        shown.add_row(
            row["suspicion_id"],
            f"{row['class_label']} of {model}/{row['version']}",
            f"{row['score']:.2f}",
            f"{row['size']} of {row['answers']}",
            f"row {top + 1}, column {left + 1} of {len(grid)} x {len(grid[0])}",
            row["verdict"],
            " ".join(row["examples"][:_EXAMPLES]),
        )
    terminal.console.print(shown)


def _judge(model: str, suspicion_id: str, verdict: str, note: str) -> None:
    from audit.store import suspicions

    with store(settings.load()).connected() as connection:
        row = suspicions.one(connection, suspicion_id)
    if row is None or row["model"] != model:
        terminal.fail(f"there is no suspected shortcut {suspicion_id} of {model}")
    _note(
        "suspicion_verdict",
        {"suspicion_id": suspicion_id, "model": model, "verdict": verdict, "note": note},
    )


def _note(
    action: Literal["suspicion_search", "suspicion_verdict"], details: dict[str, str]
) -> None:
    from audit import records
    from services.identifiers import identifier

    now = clock.now()
    writer = recorder(settings.load())
    writer.note([records.ActionEvent(identifier(now), now, action, user(), details)])
    writer.close()
