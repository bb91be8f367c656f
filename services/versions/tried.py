"""Whether a version was tried in a process of its own, and the trial where it was not.

A version never changes, so what is known of it stays known, beside it in the registry: for its
content and for the version of ONNX Runtime that ran it.
"""

import logging
from importlib import metadata
from pathlib import Path
from typing import Final

from models import trying
from models.registry import Version

LOG = logging.getLogger("rightly.versions")
FOLDER: Final = ".tried"


def ensure(version: Version) -> None:
    """Try a version unless that was done.

    Raises:
        GraphRejectedError: With the reason, where it cannot be served.
    """
    if _mark(version).exists():
        return
    trying.check(version.folder)
    remember(version)


def remember(version: Version) -> None:
    """Write down that a version can be served; where that cannot be, it is tried again."""
    mark = _mark(version)
    try:
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
    except OSError as error:
        LOG.info("the trial of %s cannot be remembered: %s", version.ref, error)


def _mark(version: Version) -> Path:
    digest = version.ref.digest.rpartition(":")[2]
    runtime = metadata.version("onnxruntime")
    return version.folder.parents[1] / FOLDER / f"{digest}-onnxruntime-{runtime}"
