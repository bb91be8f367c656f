"""How the gateway is started: one BentoML server in a process of its own."""

import sys

from services import settings
from services.settings import Settings

TARGET = "services.gateway:Gateway"


def command(chosen: Settings) -> list[str]:
    """Return the command line of the server."""
    return [
        *(sys.executable, "-m", "bentoml", "serve", TARGET),
        *("--host", chosen.host, "--port", str(chosen.port)),
    ]


def environment(chosen: Settings) -> dict[str, str]:
    """Return the server's environment: this process's, the settings, and BentoML's own switches.

    Two servers must not share a BENTOML_HOME: the second wipes the first one's metrics.
    """
    return {
        **settings.inherited(),
        **settings.environment(chosen),
        "BENTOML_HOME": str((chosen.home / "bentoml").absolute()),
        "BENTOML_DO_NOT_TRACK": "True",  # "1" would not opt out
    }
