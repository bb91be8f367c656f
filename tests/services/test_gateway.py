"""What a serving process loads, measured in a process of its own."""

import subprocess
import sys


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_the_gateway_does_not_load_torch_or_training_code() -> None:
    loaded = loaded_after("import services.gateway")

    assert "services.gateway" in loaded
    assert loaded.isdisjoint({"torch", "torchvision", "models.training", "models.export", "dbos"})


def test_importing_the_gateway_does_not_load_onnx_runtime() -> None:
    """Every process of the server imports it; only workers open a session."""
    assert "onnxruntime" not in loaded_after("import services.gateway")


def test_that_the_checks_above_can_fail() -> None:
    assert "torch" in loaded_after("import torch")
    assert "onnxruntime" in loaded_after("import onnxruntime")
