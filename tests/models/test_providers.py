"""Which device computes, and that nobody is told otherwise."""

from pathlib import Path

import pytest

from models import providers
from models.errors import RuntimeUnavailableError
from models.runtime import Session
from tests import graphs


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return (graphs.write_version(tmp_path) / "predict.onnx").read_bytes()


def has_gpu() -> bool:
    return providers._driver_answers()


def test_exactly_one_build_is_installed_here() -> None:
    assert len(providers.installed_builds()) == 1
    assert providers.onnx_runtime().__name__ == "onnxruntime"


@pytest.mark.parametrize(
    ("builds", "reason"),
    [
        ((), "not installed"),
        (("onnxruntime", "onnxruntime-gpu"), "both installed"),
    ],
)
def test_no_build_or_two_builds_are_refused(builds: tuple[str, ...], reason: str) -> None:
    with pytest.raises(RuntimeUnavailableError, match=reason):
        providers.refuse_mixed_builds(builds)


def test_two_installed_builds_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip leaves them: two distributions side by side, one import package."""
    for name in ("onnxruntime", "onnxruntime_gpu"):
        information = tmp_path / f"{name}-1.31.1.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.31.1\n"
        )
    monkeypatch.syspath_prepend(tmp_path)

    assert providers.installed_builds() == ("onnxruntime", "onnxruntime-gpu")
    with pytest.raises(RuntimeUnavailableError, match="overwrite each other"):
        providers.onnx_runtime()


def test_the_cpu_is_used_when_asked_for(content: bytes) -> None:
    opened = providers.open_graph(content, device="cpu", threads=1)

    assert opened.get_providers() == ["CPUExecutionProvider"]


def test_shape_arithmetic_may_stay_on_the_cpu_and_work_may_not() -> None:
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    shapes = [(cpu, "Shape"), (cpu, "Concat"), (cpu, "Gather")]

    assert providers.heavy_on_cpu([(cuda, "Conv"), (cuda, "Gemm"), *shapes]) == []
    assert ["Conv", "Gemm"] == providers.heavy_on_cpu([(cpu, "Gemm"), (cpu, "Conv"), *shapes])


def test_where_each_node_runs_is_known(content: bytes) -> None:
    """The check above rests on this record of ONNX Runtime's."""
    runtime = providers.onnx_runtime()
    options = runtime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    assert {"Conv", "Gemm", "Relu", "Softmax"} <= set(
        providers.heavy_on_cpu(providers._placement(session))
    )


@pytest.mark.skipif(has_gpu(), reason="a GPU answers here")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there_is_an_error_not_a_cpu(
    content: bytes, device: providers.Device
) -> None:
    # The GPU build falls back where no driver answers; the CPU build does not have the provider.
    said = r"runs on .*CPUExecutionProvider|install rightly\[gpu\]"
    with pytest.raises(RuntimeUnavailableError, match=said):
        providers.open_graph(content, device=device, threads=1)


@pytest.mark.skipif(has_gpu(), reason="a GPU answers here")
def test_auto_takes_the_cpu_where_no_driver_answers_and_says_so(tmp_path: Path) -> None:
    opened = Session.open(graphs.write_version(tmp_path), device="auto", threads=1)

    assert opened.providers == ("CPUExecutionProvider",)


@pytest.mark.gpu
@pytest.mark.skipif(not has_gpu(), reason="needs an NVIDIA driver")
def test_auto_and_cuda_take_the_gpu_where_one_answers(tmp_path: Path) -> None:
    folder = graphs.write_version(tmp_path)
    for device in ("auto", "cuda"):
        assert Session.open(folder, device=device).providers[0] == "CUDAExecutionProvider"
