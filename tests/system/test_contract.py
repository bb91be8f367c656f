"""Schemathesis makes requests from the OpenAPI document and looks for a breach of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import served

pytestmark = [pytest.mark.system, pytest.mark.slow]

# Random bytes are no image, and there is no sign-in to ignore.
NOT_ASKED = "positive_data_acceptance,ignored_auth"


def test_no_request_from_the_document_finds_a_breach(tmp_path) -> None:
    """A server of its own, with its auditor: the promotions that it tries move the champion."""
    registry = served.registry_of_colours(tmp_path, 40.0, 20.0)
    with served.serve(tmp_path, registry) as server, served.auditing(server):
        command = [
            *(Path(sys.executable).with_name("schemathesis"), "run", f"{server.url}/openapi.json"),
            *("--checks", "all", "--exclude-checks", NOT_ASKED, "--max-examples", "8"),
            # One worker: Python 3.11's parser counts the depth of all threads together, and
            # Hypothesis parses while it describes a recursive strategy.
            *("--seed", "20261121", "--workers", "1", "--no-color"),
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    report = done.stdout[-12_000:]
    sys.stdout.write(report)

    assert done.returncode == 0, report + done.stderr[-2000:]
    assert "passed" in report
