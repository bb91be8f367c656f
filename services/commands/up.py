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
    alone,
    check_free,
    chosen_settings,
    run_gateway,
)
from services.settings import Settings

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
    chosen = chosen_settings(host, port, workers)
    if only_champion:
        _ensure_champion(chosen)
        return
    with alone(chosen):
        check_free(chosen)
        _ensure_champion(chosen)
        run_gateway(chosen, completing=with_retraining)


def _ensure_champion(chosen: Settings) -> None:
    """Let the small default model answer where nothing does yet; say what answers."""
    from models.registry import Registry
    from services.versions import embedded

    registry = Registry(chosen.registry)
    name = chosen.default_among(registry.models())
    if name == embedded.NAME:
        with terminal.progress(lines=True) as report:
            version = embedded.ensure_default(registry, now=clock.now(), progress=report)
    else:
        version = registry.champion(name)
    terminal.say(f"[bold]{version.ref.name}[/] version {version.ref.version} is the champion")
