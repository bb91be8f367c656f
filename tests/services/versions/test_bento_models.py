"""To BentoML's model store and back, each run in a process with a store of its own."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from models.registry import Registry
from tests import graphs

NOW = datetime(2026, 11, 21, tzinfo=UTC)

SCRIPT = """
import sys
from pathlib import Path
import bentoml
from models.errors import CorruptVersionError, RegistryError, UnknownModelError
from models.registry import Registry
from services.versions import bento_models

here, there = Registry(Path(sys.argv[1])), Registry(Path(sys.argv[2]))
origin = here.version("tiny", 1)
tag = bento_models.export_bento_model(here, origin)
print(tag == bento_models.tag_of(origin) == bento_models.export_bento_model(here, origin))

taken = bento_models.import_bento_model(there, tag)
there.verify(taken)
print(taken.ref == origin.ref, there.models())

def refused(tag):
    try:
        bento_models.import_bento_model(there, tag, name="other")
    except RegistryError as error:
        print(type(error).__name__)

refused("absent:v1")
refused("not a tag")
with bentoml.models.create("foreign:v1"):
    pass
refused("foreign:v1")
inside = Path(bentoml.models.get(tag).path) / bento_models.FOLDER / "weights.safetensors"
inside.chmod(0o644)
inside.write_bytes(b"changed")
refused(tag)
print(there.models())
"""


def test_a_version_survives_bentomls_store_and_a_changed_one_does_not(tmp_path: Path) -> None:
    Registry(tmp_path / "here").add("tiny", graphs.write_version(tmp_path / "source"), now=NOW)
    environment = os.environ | {
        "BENTOML_HOME": str(tmp_path / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "here"), str(tmp_path / "there")],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )

    assert [
        "True",
        "True ['tiny']",
        "UnknownModelError",
        "RegistryError",
        "RegistryError",
        "CorruptVersionError",
        "['tiny']",
    ] == done.stdout.splitlines()
