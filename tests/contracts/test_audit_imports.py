"""The auditor shares nothing with the audited: checked on what is truly loaded."""

import pkgutil
import subprocess
import sys

import pytest

import audit

FORBIDDEN = {"torch", "torchvision", "onnxruntime", "bentoml", "fastapi", "starlette", "pydantic"}
# The store brings SQLAlchemy; nothing else in `audit` needs it.
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(audit.__path__, "audit.")
    if ".migrations" not in module.name
)


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_no_module_of_audit_loads_what_is_audited() -> None:
    loaded = loaded_after("import " + ", ".join(MODULES))

    assert not loaded & (FORBIDDEN | {"models", "services"})
    assert set(MODULES) <= loaded


@pytest.mark.parametrize("package", ["pydantic", "fastapi"])
def test_that_the_check_above_can_fail(package) -> None:
    assert package in loaded_after(f"import {package}")


def test_the_walk_finds_nested_modules() -> None:
    assert {"audit.localisation", "audit.detectors.esr", "audit.reliance.probing"} <= set(MODULES)
