"""Make the model that comes along anew: `python -m services.showing.default_model`.

Run it, or `make default-model`, after a change to its recipe, to what is exported or to what a
card says; `tests/system/test_default_model.py` compares the archive with its recipe.
"""

import sys
import tempfile
from pathlib import Path

from models.registry import Registry
from services import clock
from services.commands import terminal
from services.versions import embedded


def main() -> int:
    """Train it, write the archive, and say what is in it."""
    with tempfile.TemporaryDirectory(prefix="rightly-default-") as folder:
        registry = Registry(Path(folder))
        with terminal.progress() as report:
            version = embedded.make(registry, now=clock.now(), progress=report)
        embedded.pack(version, registry, embedded.ARCHIVE)
    terminal.say(
        f"{embedded.ARCHIVE.name}: {embedded.ARCHIVE.stat().st_size:,} bytes, {version.ref.digest}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
