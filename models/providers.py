"""Which device computes: choose an ONNX Runtime provider, and believe only the loaded graph.

`get_available_providers()` lists what the wheel was built with, not what this machine can run, and
a provider that cannot start is replaced by the CPU without an error. So an explicitly chosen
device is strict (no fallback, and the loaded session must name the provider); "auto" reports what
it got.
"""

import ctypes
from collections.abc import Sequence
from importlib import import_module, metadata
from types import ModuleType
from typing import Any, Final, Literal

from models.errors import GraphRejectedError, RuntimeUnavailableError

Device = Literal["auto", "cpu", "cuda", "tensorrt"]

_BUILDS: Final = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
_CPU: Final = "CPUExecutionProvider"
_CUDA: Final = "CUDAExecutionProvider"
_TENSORRT: Final = "TensorrtExecutionProvider"
_STRICT: Final[dict[str, list[str]]] = {"cuda": [_CUDA], "tensorrt": [_TENSORRT, _CUDA]}
_RUNTIME_ERRORS: Final = (
    "EPFail",
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "ModelLoaded",
    "NoModel",
    "NoSuchFile",
    "NotImplemented",
    "RuntimeException",
)


def onnx_runtime() -> ModuleType:
    """Return the `onnxruntime` module, once exactly one build of it is installed.

    Raises:
        RuntimeUnavailableError: If none or several builds are installed.
    """
    refuse_mixed_builds(installed_builds())
    return import_module("onnxruntime")


def installed_builds() -> tuple[str, ...]:
    """Return the distributions of ONNX Runtime that are installed here."""
    found = {each.metadata["Name"].lower() for name in _BUILDS for each in _distributions(name)}
    return tuple(name for name in _BUILDS if name in found)


def refuse_mixed_builds(builds: Sequence[str]) -> None:
    """Refuse all but exactly one build: several share one folder, and the last one wins silently.

    Raises:
        RuntimeUnavailableError: If `builds` names none or several.
    """
    if not builds:
        raise RuntimeUnavailableError(
            "ONNX Runtime is not installed; install rightly[cpu] or rightly[gpu]"
        )
    if len(builds) > 1:
        raise RuntimeUnavailableError(
            f"{' and '.join(builds)} are both installed and overwrite each other; "
            f"uninstall them all, then install one"
        )


def open_graph(content: bytes, *, device: Device, threads: int) -> Any:  # noqa: ANN401 - untyped
    """Load the ONNX graph in `content` on `device`.

    Args:
        content: A checked ONNX file (`models.contract.check`).
        device: "cpu", "cuda" and "tensorrt" are strict; "auto" takes CUDA where a driver answers
            and the CPU otherwise.
        threads: CPU threads of one run; 0 leaves the choice to ONNX Runtime.

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        RuntimeUnavailableError: If this machine cannot run the graph on `device`.
        GraphRejectedError: If ONNX Runtime does not accept the graph on any device.
    """
    runtime = onnx_runtime()
    providers = _providers(runtime, device)
    strict = device in _STRICT
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3 if not strict else 4  # the exception says it already
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if strict:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = runtime.InferenceSession(content, options, providers=providers)
    except runtime_errors() as error:
        if strict:
            raise RuntimeUnavailableError(f"device {device!r} cannot run it: {error}") from error
        raise GraphRejectedError(f"ONNX Runtime does not accept the graph: {error}") from error
    if strict and providers[0] not in session.get_providers():
        raise RuntimeUnavailableError(
            f"device {device!r} was asked for, but the graph runs on {session.get_providers()}"
        )
    return session


def runtime_errors() -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises; its exceptions have no common base of their own."""
    state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    named = [getattr(state, name) for name in _RUNTIME_ERRORS if hasattr(state, name)]
    return (*named, ValueError, RuntimeError)


def _providers(runtime: ModuleType, device: Device) -> list[str]:
    built = runtime.get_available_providers()
    if device == "cpu":
        return [_CPU]
    if device == "auto" and not (_CUDA in built and _driver_answers()):
        return [_CPU]
    wanted = _STRICT.get(device, [_CUDA, _CPU])
    if wanted[0] not in built:
        raise RuntimeUnavailableError(
            f"device {device!r} needs {wanted[0]}, this build has {', '.join(built)}; "
            "install rightly[gpu] instead of rightly[cpu]"
        )
    runtime.preload_dlls()  # CUDA and cuDNN from their wheels
    return wanted


def _driver_answers() -> bool:
    """Look for NVIDIA's driver, which spares a machine without one ONNX Runtime's error lines."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _distributions(name: str) -> list[metadata.Distribution]:
    return list(metadata.distributions(name=name))
