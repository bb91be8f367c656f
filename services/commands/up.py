"""`rightly up`: from an empty folder to an answering server in one command."""

from typing import Annotated

import typer

from services import clock
from services.commands import terminal
from services.commands.serving import (
    Host,
    Port,
    WithRetraining,
    Workers,
    check_free,
    chosen_settings,
    run_gateway,
)

OnlyChampion = Annotated[
    bool, typer.Option("--only-champion", help="End once there is a champion, without serving.")
]


def up(
    *,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    only_champion: OnlyChampion = False,
    with_retraining: WithRetraining = False,
) -> None:
    """Serve, with the small default model that comes along if there is no model yet."""
    from models.registry import Registry
    from services.versions import embedded

    chosen = chosen_settings(host, port, workers)
    if not only_champion:
        check_free(chosen)
    registry = Registry(chosen.registry)
    name = chosen.default_among(registry.models())
    if name == embedded.NAME:
        with terminal.progress(lines=True) as report:
            version = embedded.ensure_default(registry, now=clock.now(), progress=report)
    else:
        version = registry.champion(name)
    terminal.say(f"[bold]{version.ref.name}[/] version {version.ref.version} is the champion")
    if only_champion:
        return
    run_gateway(chosen, completing=with_retraining)
