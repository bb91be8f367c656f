"""The command lines of the processes that serve: the gateway, and the auditor beside it."""

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
    return [[sys.executable, "-m", "services.auditor"]] if audited else []
