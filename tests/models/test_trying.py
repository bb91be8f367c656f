"""Versions that harm whoever runs them are refused by a child, with the reason."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models import trying
from models.errors import GraphRejectedError
from models.registry import Registry
from models.runtime import Session
from services import clock
from tests import graphs

BOOL, INT, FLOAT = TensorProto.BOOL, TensorProto.INT64, TensorProto.FLOAT


def constant(name: str, value: object, dtype: type) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, dtype), name)


def spoiled(folder: Path, output: str, *nodes: onnx.NodeProto, **constants: object) -> Path:
    """A version whose `output` is what `nodes` make of what it was, called "before"."""
    graphs.write_version(folder)
    for path in (folder / "predict.onnx", folder / "explain.onnx"):
        model = onnx.load(path)
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = ["before" if each == output else each for each in names]
        model.graph.node.extend(nodes)
        for name, value in constants.items():
            dtype = {int: np.int64, bool: np.bool_, float: np.float32, list: np.int64}[type(value)]
            model.graph.initializer.append(constant(name, value, dtype))
        path.write_bytes(model.SerializeToString())
    return folder


def endless() -> onnx.NodeProto:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes"]),
            helper.make_node("Identity", ["value"], ["same"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", INT, []),
            helper.make_tensor_value_info("going", BOOL, []),
            helper.make_tensor_value_info("value", FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes", BOOL, []),
            helper.make_tensor_value_info("same", FLOAT, None),
        ],
    )
    return helper.make_node("Loop", ["turns", "true", "before"], ["cam"], body=body)


def test_a_good_version_passes_and_leaves_nothing(tmp_path) -> None:
    folder = graphs.write_version(tmp_path / "good")
    before = sorted(folder.iterdir())
    trying.check(folder)

    assert before == sorted(folder.iterdir())


SPOILED = {
    "NaN heatmap": (
        ("cam", helper.make_node("Mul", ["before", "nan"], ["cam"])),
        {"nan": float("nan")},
        "cam holds what is no finite number",
    ),
    "infinite embedding": (
        ("embedding", helper.make_node("Div", ["before", "nought"], ["embedding"])),
        {"nought": 0.0},
        "embedding holds what is no finite number",
    ),
    "negative heatmap": (
        (
            "cam",
            helper.make_node("Abs", ["before"], ["sized"]),
            helper.make_node("Sub", ["sized", "much"], ["cam"]),
        ),
        {"much": 1e6},
        "negative evidence",
    ),
    "rows too many": (
        ("cam", helper.make_node("Concat", ["before", "before"], ["cam"], axis=0)),
        {},
        "rows",
    ),
    "no probabilities": (
        ("probabilities", helper.make_node("Mul", ["before", "half"], ["probabilities"])),
        {"half": 0.5},
        "do not sum to one",
    ),
    "foreign operators": (
        ("cam", helper.make_node("Gelu", ["before"], ["cam"], domain="com.microsoft")),
        {},
        "'Gelu' is of domain 'com.microsoft'",
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_what_is_no_answer_is_refused_with_the_reason(tmp_path, name) -> None:
    (output, *nodes), constants, words = SPOILED[name]
    folder = spoiled(tmp_path / "bad", output, *nodes, **constants)

    with pytest.raises(GraphRejectedError, match=words):
        trying.check(folder)


def test_an_endless_loop_is_ended(tmp_path) -> None:
    folder = spoiled(tmp_path / "bad", "cam", endless(), turns=2**62, true=True)

    with pytest.raises(GraphRejectedError, match="does not answer 4 images within 20 seconds"):
        trying.check(folder, seconds=20.0)


def test_a_version_that_needs_too_much_memory_is_refused(tmp_path) -> None:
    nodes = (
        helper.make_node("ConstantOfShape", ["large"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["nothing"], keepdims=0),
        helper.make_node("Add", ["before", "nothing"], ["cam"]),
    )
    folder = spoiled(tmp_path / "bad", "cam", *nodes, large=[2**33])

    with pytest.raises(GraphRejectedError):
        trying.check(folder)


def test_what_kills_the_child_is_told(tmp_path, monkeypatch) -> None:
    """An address space in which no Python can begin."""
    folder = graphs.write_version(tmp_path / "good")
    monkeypatch.setattr(trying, "_PER_BYTE", 0)

    with pytest.raises(GraphRejectedError, match=r"more than 0\.1 GiB"):
        trying.check(folder, memory_bytes=2**26)


def test_an_archive_that_cannot_be_served_is_not_filed(tmp_path) -> None:
    (output, *nodes), constants, words = SPOILED["no probabilities"]
    folder = spoiled(tmp_path / "bad", output, *nodes, **constants)
    source, target = Registry(tmp_path / "one"), Registry(tmp_path / "two")
    found = source.add("tiny", folder, now=clock.now())
    source.export_archive(found, tmp_path / "tiny.tar")

    with pytest.raises(GraphRejectedError, match=words):
        target.import_archive(tmp_path / "tiny.tar", check=trying.check)
    with pytest.raises(GraphRejectedError, match=words):
        target.add("tiny", folder, now=clock.now(), check=trying.check)
    assert [] == target.models()
    assert "tiny" == target.import_archive(tmp_path / "tiny.tar").ref.name


def test_a_served_graph_that_answers_other_rows_says_so(tmp_path) -> None:
    (output, *nodes), constants, _ = SPOILED["rows too many"]
    folder = spoiled(tmp_path / "bad", output, *nodes, **constants)

    with pytest.raises(GraphRejectedError, match=r"answers 1 images with \[1, 2\] rows"):
        Session.open(folder, device="cpu", threads=1)
