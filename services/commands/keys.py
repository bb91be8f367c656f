"""`rightly keys add | list | revoke`: API keys, shown once."""

from typing import Annotated

import typer

from services import clock, settings
from services.commands import terminal

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def add(
    name: Annotated[str, typer.Argument(help="Of the person or program; enters the audit trail.")],
    *,
    role: Annotated[
        str, typer.Option(help="client, viewer, reviewer, approver or admin.")
    ] = "viewer",
) -> None:
    """Make an API key and print it; it cannot be shown again."""
    from services.access.keys import Keys
    from services.access.principals import Role
    from services.errors import RequestError

    try:
        wanted = Role.named(role)
    except ValueError as error:
        raise RequestError(str(error)) from error
    key = Keys(settings.load().keys).add(name, wanted, now=clock.now())
    typer.echo(key)


def list_keys(*, json: Json = False) -> None:
    """List the keys: id, name, role, and since when they count or no longer do."""
    from dataclasses import asdict

    from services.access.keys import Keys

    known = Keys(settings.load().keys).everything()
    if json:
        shown = [{k: v for k, v in asdict(each).items() if k != "digest"} for each in known]
        terminal.print_json(shown)
        return
    if not known:
        terminal.say("no key yet; `rightly keys add NAME --role admin` makes one")
        return
    table = terminal.table("API keys", "id", "name", "role", "made", "revoked")
    for each in known:
        moments = (each.created_at[:16], each.revoked_at[:16])
        table.add_row(each.key_id, each.name, each.role, *moments)
    terminal.console.print(table)


def revoke(key_id: Annotated[str, typer.Argument(help="As listed.")]) -> None:
    """End a key at once, and the sessions that began with it."""
    from services.access.keys import Keys

    ended = Keys(settings.load().keys).revoke(key_id, now=clock.now())
    terminal.say(f"{ended.key_id} of {ended.name} does not count any more")
