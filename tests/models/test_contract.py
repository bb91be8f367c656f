"""A graph is served only when every part of it is as the contract says."""

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from models import contract, specs
from models.errors import GraphRejectedError
from tests import graphs


def write(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "predict.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("kind", ["predict", "explain"])
def test_check_passes_a_graph_that_keeps_the_contract(kind: contract.Kind, tmp_path: Path) -> None:
    graphs.write_version(tmp_path)

    checked = contract.check(tmp_path / contract.FILES[kind], kind)

    assert graphs.spec() == checked.spec
    assert (tmp_path / f"{kind}.onnx").read_bytes() == checked.content
    assert ("lrp" in checked.outputs) == (kind == "explain")


def test_check_passes_an_explain_graph_without_lrp(tmp_path: Path) -> None:
    graphs.write_version(tmp_path, lrp=False)

    assert "lrp" not in contract.check(tmp_path / "explain.onnx", "explain").outputs


def metadata(key: str, value: str | None) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        kept = {each.key: each.value for each in model.metadata_props} | {key: value}
        del model.metadata_props[:]
        helper.set_model_props(model, {k: v for k, v in kept.items() if v is not None})

    return change


def other_opset(version: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = version

    return change


def missing_output(model: onnx.ModelProto) -> None:
    del model.graph.output[0]


def extra_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("path", TensorProto.STRING, [1]))


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def other_height(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 32


def float_images(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def fewer_classes(model: onnx.ModelProto) -> None:
    metadata(contract.SPEC_KEY, specs.to_json(graphs.spec(("red", "green"))))(model)


def external_initializer(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    external_data_helper.set_external_data(tensor, "/etc/passwd")


def external_attribute(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "hidden")
    external_data_helper.set_external_data(tensor, "../hidden")
    inner = helper.make_graph([helper.make_node("Constant", [], ["x"], value=tensor)], "g", [], [])
    model.graph.node.append(
        helper.make_node("If", ["open"], ["y"], then_branch=inner, else_branch=inner)
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (metadata(contract.CONTRACT_KEY, "2"), "rightly.contract is '2'"),
        (metadata(contract.CONTRACT_KEY, None), "rightly.contract is None"),
        (metadata(contract.GRAPH_KEY, "explain"), "rightly.graph is 'explain'"),
        (metadata(contract.SPEC_KEY, None), "rightly.spec is missing"),
        (metadata(contract.SPEC_KEY, "{"), "not JSON"),
        (metadata(contract.SPEC_KEY, "{}"), "must have the fields"),
        (other_opset(17), "opset"),
        (other_opset(999), "opset"),
        (missing_output, "outputs are"),
        (extra_input, "inputs are"),
        (fixed_batch, "first axis must stay open"),
        (other_height, "its spec says"),
        (float_images, "type, rank"),
        (fewer_classes, "its spec says"),
        (external_initializer, "another file"),
        (external_attribute, "'hidden' is kept in another file"),
    ],
)
def test_check_refuses_a_graph_that_breaks_the_contract(
    change: Callable[[onnx.ModelProto], None], reason: str, tmp_path: Path
) -> None:
    model = graphs.build("predict")
    change(model)

    with pytest.raises(GraphRejectedError, match=reason):
        contract.check(write(model, tmp_path), "predict")


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x0a" * 40])
def test_check_refuses_a_file_that_is_no_graph(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "predict.onnx"
    path.write_bytes(content)

    with pytest.raises(GraphRejectedError):
        contract.check(path, "predict")


def test_check_refuses_links_and_devices(tmp_path: Path) -> None:
    """What is behind a link can change between the check and the load."""
    graphs.write_version(tmp_path / "good")
    symbolic, hard, pipe = (tmp_path / name for name in ("symbolic", "hard", "pipe"))
    symbolic.symlink_to(tmp_path / "good" / "predict.onnx")
    os.mkfifo(pipe)
    for path in (symbolic, pipe, tmp_path / "good", tmp_path / "absent"):
        with pytest.raises(GraphRejectedError):
            contract.check(path, "predict")
    contract.check(tmp_path / "good" / "predict.onnx", "predict")

    hard.hardlink_to(tmp_path / "good" / "predict.onnx")

    with pytest.raises(GraphRejectedError, match="one name"):
        contract.check(tmp_path / "good" / "predict.onnx", "predict")


def test_read_regular_refuses_a_file_over_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(11))

    assert bytes(11) == contract.read_regular(path, largest=11)
    with pytest.raises(GraphRejectedError, match="11 bytes, at most 10"):
        contract.read_regular(path, largest=10)


@pytest.mark.parametrize(
    "broken",
    [
        {"classes": []},
        {"classes": ["a", "a"]},
        {"classes": "ab"},
        {"head": "quadratic"},
        {"preprocessing": {}},
        {"unknown": 1},
    ],
)
def test_a_spec_with_a_wrong_field_is_refused(broken: dict[str, object]) -> None:

    with pytest.raises(GraphRejectedError):
        specs.from_mapping({**asdict(graphs.spec()), **broken})


def test_a_spec_survives_the_round_trip() -> None:
    text = specs.to_json(graphs.spec())

    assert graphs.spec() == specs.from_json(text)
    assert text == specs.to_json(specs.from_json(text))
