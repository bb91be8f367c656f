"""Which device computes: choose an ONNX Runtime provider, and believe only the loaded graph.

`get_available_providers()` lists what the wheel was built with, not what this machine can run, and
a provider that cannot start is replaced by the CPU without an error. So an explicitly chosen
device is strict (no fallback, and the loaded session must name the provider); "auto" reports what
it got.
"""

import ctypes
from collections.abc import Iterable, Sequence
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
_HEAVY: Final = frozenset(
    {
        "Attention",
        "AveragePool",
        "BatchNormalization",
        "Conv",
        "ConvTranspose",
        "FusedConv",
        "FusedGemm",
        "FusedMatMul",
        "Gemm",
        "GlobalAveragePool",
        "LayerNormalization",
        "MatMul",
        "MaxPool",
        "Relu",
        "Softmax",
    }
)
_ERRORS, _SILENT = 3, 4  # ONNX Runtime's log levels
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
            and the CPU otherwise. Strict: the graph runs there, but for the arithmetic of
            shapes, or it is not loaded.
        threads: CPU threads of one run; 0 leaves the choice to ONNX Runtime.

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        RuntimeUnavailableError: If this machine cannot run the graph on `device`.
        GraphRejectedError: If ONNX Runtime does not accept the graph on any device.
    """
    runtime = onnx_runtime()
    providers = _providers(runtime, device)
    if device in _STRICT:
        return _open_strictly(runtime, content, providers, device=device, threads=threads)
    try:
        return runtime.InferenceSession(content, _options(runtime, threads), providers=providers)
    except runtime_errors() as error:
        raise GraphRejectedError(f"ONNX Runtime does not accept the graph: {error}") from error


def heavy_on_cpu(placement: Iterable[tuple[str, str]]) -> list[str]:
    """Return the operators that a GPU was chosen for and that the CPU computes nevertheless.

    ONNX Runtime leaves the arithmetic of shapes on the CPU on purpose; that costs nothing.

    Args:
        placement: Provider and operator type of each node.
    """
    return sorted({operator for where, operator in placement if where == _CPU} & _HEAVY)


def runtime_errors() -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises; its exceptions have no common base of their own."""
    state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    named = [getattr(state, name) for name in _RUNTIME_ERRORS if hasattr(state, name)]
    return (*named, ValueError, RuntimeError)


def _open_strictly(
    runtime: ModuleType, content: bytes, providers: list[str], *, device: Device, threads: int
) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    """Load on a GPU or not at all: every node there, or all but the arithmetic of shapes."""

    def load(setting: str) -> Any:  # noqa: ANN401 - onnxruntime is untyped
        options = _options(runtime, threads)
        options.log_severity_level = _SILENT  # the exception says it
        options.add_session_config_entry(setting, "1")
        return runtime.InferenceSession(content, options, providers=providers)

    try:
        session, whole = load("session.disable_cpu_ep_fallback"), True
    except runtime_errors():
        try:
            session, whole = load("session.record_ep_graph_assignment_info"), False
        except runtime_errors() as error:
            raise RuntimeUnavailableError(f"device {device!r} cannot run it: {error}") from error
    if session.get_providers()[0] != providers[0]:
        raise RuntimeUnavailableError(
            f"device {device!r} was asked for, but the graph runs on {session.get_providers()}"
        )
    if not whole and (heavy := heavy_on_cpu(_placement(session))):
        raise RuntimeUnavailableError(
            f"device {device!r} was asked for, but the CPU would compute {', '.join(heavy)}"
        )
    return session


def _placement(session: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - onnxruntime is untyped
    """Return each node's provider and operator, as the session recorded it."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        raise RuntimeUnavailableError(
            "this ONNX Runtime cannot tell which nodes would run on the CPU; install a newer one"
        )
    return [
        (part.ep_name, node.op_type)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]


def _options(runtime: ModuleType, threads: int) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


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
