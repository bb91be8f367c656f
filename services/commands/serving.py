"""`rightly serve`: the gateway and the auditor as child processes."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from services import settings
from services.access import opening
from services.commands import processes, supervision, terminal
from services.settings import Settings

LOCK: Final = "serve.lock"

Host = Annotated[str | None, typer.Option(help="Address to listen on. Setting: host.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on. Setting: port.")]
Workers = Annotated[int | None, typer.Option(help="Serving processes. Setting: workers.")]
WithRetraining = Annotated[
    bool,
    typer.Option(
        "--with-retraining", help="Install what retraining needs beside serving, if it is missing."
    ),
]


def serve(
    *,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    with_retraining: WithRetraining = False,
) -> None:
    """Serve the champions of the registry as they are, with auditor and runner beside them."""
    chosen = chosen_settings(host, port, workers)
    with alone(chosen):
        check_free(chosen)
        run_gateway(chosen, completing=with_retraining)


@contextmanager
def alone(chosen: Settings) -> Iterator[None]:
    """Be the one server of a home meanwhile; say in one line where another one is.

    The lock goes with this process, however it ends.
    """
    chosen.home.mkdir(parents=True, exist_ok=True)
    flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC
    descriptor = os.open(chosen.home / LOCK, flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            there = os.read(descriptor, 300).decode(errors="replace").strip()
            terminal.fail(
                f"{chosen.home} is being served already{f' on {there}' if there else ''}; "
                "end that server first, or choose another home with RIGHTLY_HOME"
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"http://{chosen.host}:{chosen.port}\n".encode())
        yield
    finally:
        os.close(descriptor)


def code_folder() -> Path:
    """Return the folder of our packages; a child that runs there finds ours first."""
    return Path(settings.__file__).parent.parent


def run_gateway(chosen: Settings, *, completing: bool = False) -> None:
    """Run the gateway, and the auditor beside it, until the gateway or a signal ends it.

    Args:
        chosen: The settings.
        completing: Whether to install beside it what retraining needs.
    """
    chosen.home.mkdir(parents=True, exist_ok=True)
    terminal.say(f"answering on http://{chosen.host}:{chosen.port}, Ctrl-C ends it")
    status = supervision.run(
        [processes.gateway(chosen)],
        companions=processes.companions(chosen, completing=completing),
        environment=settings.serving_environment(chosen),
        folder=code_folder(),
    )
    raise typer.Exit(status)


def chosen_settings(host: str | None, port: int | None, workers: int | None) -> Settings:
    """Return the settings with what the command line said in their place.

    Raises:
        SettingsError: If they would answer others without sign-in.
    """
    spoken: dict[str, Any] = {"host": host, "port": port, "workers": workers}
    given = {name: str(value) for name, value in spoken.items() if value is not None}
    made = settings.load(settings.inherited() | settings.as_variables(given))
    opening.check(made)
    return made


def check_free(chosen: Settings) -> None:
    """Say in one line that the port is taken, before anything is trained or started."""
    family = socket.AF_INET6 if ":" in chosen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((chosen.host, chosen.port))
        except OSError as error:
            terminal.fail(
                f"cannot listen on {chosen.host}:{chosen.port}: {error.strerror}; "
                "choose another address with --host or --port"
            )
