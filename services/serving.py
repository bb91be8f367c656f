"""The command lines of what serves: the gateway, and auditor and runner beside it."""

import sys

from services.settings import Settings


def gateway(chosen: Settings) -> list[str]:
    """Return the command line of the BentoML server."""
    return [
        *(sys.executable, "-m", "bentoml", "serve", "services.gateway:Gateway"),
        *("--host", chosen.host, "--port", str(chosen.port)),
    ]


def companions(chosen: Settings) -> list[list[str]]:
    """Return the command lines of what runs beside the gateway."""
    audited = chosen.auditor and chosen.recording != "off"
    beside = [("services.auditor", audited), ("services.retraining.runner", chosen.runner)]
    return [[sys.executable, "-m", module] for module, wanted in beside if wanted]
