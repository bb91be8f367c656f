"""A graph cut down to an output answers the same, and computes nothing else."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from models import trimming
from models.runtime import Session
from tests import graphs


def run(content: bytes, outputs: list[str]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (3, 16, 16, 3)).astype(np.float32)
    return session.run(outputs, {"pixels": pixels, "target": np.array([-1, 0, 2])})


@pytest.mark.parametrize("output", ["input_gradient", "lrp", "probabilities"])
def test_an_output_alone_is_the_same_to_the_bit(output: str) -> None:
    model = graphs.build("explain")
    whole = model.SerializeToString()
    cut = trimming.trimmed(whole, {output})
    found = onnx.load_model_from_string(cut)

    np.testing.assert_array_equal(run(cut, [output])[0], run(whole, [output])[0])
    assert [each.name for each in found.graph.output] == [output]
    assert len(found.graph.node) < len(model.graph.node)
    assert found.metadata_props == model.metadata_props
    assert [each.name for each in found.graph.input] == ["pixels", "target"]


def test_what_a_branch_reads_is_kept() -> None:
    tensor = helper.make_tensor_value_info
    inner = [
        helper.make_graph(
            [helper.make_node("Mul", ["twice", "twice"], [f"{name}_y"])],
            name,
            [],
            [tensor(f"{name}_y", TensorProto.FLOAT, [1])],
        )
        for name in ("one", "other")
    ]
    nodes = [
        helper.make_node("Add", ["x", "x"], ["twice"]),
        helper.make_node("Neg", ["x"], ["unused"]),
        helper.make_node("If", ["c"], ["y"], then_branch=inner[0], else_branch=inner[1]),
    ]
    inputs = [tensor("x", TensorProto.FLOAT, [1]), tensor("c", TensorProto.BOOL, [])]
    outputs = [tensor(each, TensorProto.FLOAT, [1]) for each in ("y", "unused")]
    graph = helper.make_graph(nodes, "branches", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    cut = trimming.trimmed(model.SerializeToString(), ["y"])
    session = onnxruntime.InferenceSession(cut, providers=["CPUExecutionProvider"])

    assert session.run(None, {"x": np.float32([3]), "c": np.array(True)})[0] == 36
    kept = [each.op_type for each in onnx.load_model_from_string(cut).graph.node]
    assert kept == ["Add", "If"]


def test_a_session_loads_one_graph_per_kind_of_evidence(tmp_path) -> None:
    """Whoever asks for gradients never pays for LRP, nor for the prediction a second time."""
    session = Session.open(graphs.write_version(tmp_path), device="cpu", threads=1)
    images = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    asked: list[tuple[str, ...]] = []
    plain = session._explain.run
    session._explain.run = lambda outputs, feed: (asked.append(outputs), plain(outputs, feed))[1]
    whole = session.explain(images.astype(np.float32), [0, 1])
    for name, output in (("input_gradients", "input_gradient"), ("lrp", "lrp")):
        asked.clear()
        found = session.attribute(images, name, [0, 1])
        expected = [
            each.gradient.sum(-1) if output == "input_gradient" else each.relevance
            for each in whole
        ]

        assert asked == [(output,)]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.values, other)
    graph = session._explain.load(outputs=("input_gradient",))
    assert [each.name for each in graph.session.get_outputs()] == ["input_gradient"]
    assert graph is session._explain.load(outputs=["input_gradient"])
