"""The command lines of what serves: the gateway, and auditor and runner beside it."""

import sys
from importlib.util import find_spec

from services.settings import Settings


def gateway(chosen: Settings) -> list[str]:
    """Return the command line of the BentoML server."""
    return [
        *(sys.executable, "-m", "bentoml", "serve", "services.gateway:Gateway"),
        *("--host", chosen.host, "--port", str(chosen.port)),
    ]


def companions(chosen: Settings, *, completing: bool = False) -> list[list[str]]:
    """Return the command lines of what runs beside the gateway.

    Args:
        chosen: The settings.
        completing: Install what the runner needs, where it is missing, instead of leaving it out.
    """
    audited = chosen.auditor and chosen.recording != "off"
    # A serving image cannot train; there the runner is a container of its own, `rightly work`.
    trains = chosen.runner and not completing and find_spec("torch") is not None
    beside = [
        ("services.auditing.auditor", audited),
        ("services.retraining.runner", trains),
        ("services.commands.completing", chosen.runner and completing),
    ]
    return [[sys.executable, "-m", module] for module, wanted in beside if wanted]
