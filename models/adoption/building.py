"""The graph around a foreign one: pixels prepared before it, the explanation behind it."""

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models import contract, specs
from models.adoption.foreign import (
    LUMA,
    OPSET,
    Head,
    Outputs,
    Wish,
    channels_of,
    input_of,
    output_of,
)
from models.errors import GraphRejectedError

Explanation: TypeAlias = Literal["cam", "occlusion"]
_FOREIGN: Final = "foreign/"
_IR: Final = 10  # what ONNX Runtime 1.22 reads


class Graph:
    """A graph being built: nodes and constants with names of their own."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def add(self, operator: str, inputs: Sequence[str], output: str, **settings: Any) -> str:  # noqa: ANN401 - ONNX's
        """Add a node and return its output."""
        self.nodes.append(helper.make_node(operator, inputs, [output], **settings))
        return output


def build(
    foreign: onnx.ModelProto, wish: Wish, logits: str, kind: Outputs, head: Head | None
) -> onnx.ModelProto:
    """Return the graph of a version around a foreign one.

    Args:
        foreign: As `foreign.read` gives it.
        wish: What the file does not say.
        logits: Its tensor of logits; "" where only probabilities are known.
        kind: What its output is.
        head: The pooled linear layer it ends in; None where it ends otherwise.

    Raises:
        GraphRejectedError: If the foreign graph branches or repeats.
    """
    graph = Graph()
    pixels = graph.add("Cast", ["images"], "pixels", to=TensorProto.FLOAT)
    batch = pixels if head else _hidden(graph, pixels, wish)
    _prepare(graph, foreign, wish, batch)
    _insert(graph, foreign)
    output = output_of(foreign, wish)
    every = _FOREIGN + (logits or output)
    if not logits:
        floor = graph.constant("floor", np.array(1e-30, np.float32))
        every = graph.add("Log", [graph.add("Max", [every, floor], "floored")], "all_logits")
    if head:
        graph.add("Identity", [every], "logits")
    else:
        _first(graph, every, wish)
    graph.add("Softmax", ["logits"], "probabilities", axis=1)
    _explained(graph)
    if head:
        _activation(graph, head)
    else:
        _drops(graph, wish)
    return _model(graph, foreign, wish, "cam" if head else "occlusion", kind)


def _prepare(graph: Graph, foreign: onnx.ModelProto, wish: Wish, pixels: str) -> None:
    """Bring pixels in RGB, 0..255, to what the foreign graph takes."""
    shape, value, current = wish.spec.preprocessing, input_of(foreign), pixels
    if wish.reverse:
        order = graph.constant("order", np.array([2, 1, 0], np.int64))
        current = graph.add("Gather", [current, order], "reversed", axis=3)
    factor = wish.scale / np.array(shape.std, np.float64)
    offset = -np.array(shape.mean, np.float64) / np.array(shape.std, np.float64)
    factors = graph.constant("factors", factor.astype(np.float32))
    offsets = graph.constant("offsets", offset.astype(np.float32))
    current = graph.add("Mul", [current, factors], "scaled")
    current = graph.add("Add", [current, offsets], "normalised")
    if channels_of(foreign, wish) == 1:
        luma = graph.constant("luma", np.array(LUMA, np.float32)[:, None])
        current = graph.add("MatMul", [current, luma], "grey")
    if wish.layout == "nchw":
        current = graph.add("Transpose", [current], "channels_first", perm=[0, 3, 1, 2])
    kind = value.type.tensor_type.elem_type
    graph.add("Cast", [current], _FOREIGN + value.name, to=kind)


def _insert(graph: Graph, foreign: onnx.ModelProto) -> None:
    """Add the foreign nodes under names of their own."""
    for node in foreign.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if any(each.HasField("g") or each.graphs for each in node.attribute):
            raise GraphRejectedError(
                f"{node.op_type} branches or repeats inside the graph; export it unrolled"
            )
        copy.name = ""
        copy.input[:] = [_FOREIGN + each if each else "" for each in node.input]
        copy.output[:] = [_FOREIGN + each if each else "" for each in node.output]
        graph.nodes.append(copy)
    for tensor in foreign.graph.initializer:
        kept = TensorProto()
        kept.CopyFrom(tensor)
        kept.name = _FOREIGN + tensor.name
        graph.constants.append(kept)


def _explained(graph: Graph) -> None:
    best = graph.add("ArgMax", ["logits"], "best", axis=1, keepdims=0)
    zero = graph.constant("zero", np.array(0, np.int64))
    unasked = graph.add("Less", ["target", zero], "unasked")
    graph.add("Where", [unasked, best, "target"], "explained")


def _activation(graph: Graph, head: Head) -> None:
    """Weight the pooled features by the explained class, channel by channel."""
    weights = graph.constant("class_weights", head.weights)
    rows = graph.add("Gather", [weights, "explained"], "class_rows", axis=0)
    ends = graph.constant("spatial", np.array([2, 3], np.int64))
    spread = graph.add("Unsqueeze", [rows, ends], "class_maps")
    products = graph.add("Mul", [_FOREIGN + head.features, spread], "products")
    channel = graph.constant("channel", np.array([1], np.int64))
    summed = graph.add("ReduceSum", [products, channel], "summed", keepdims=0)
    graph.add("Relu", [summed], "cam")
    flat = graph.constant("flat", np.array([0, -1], np.int64))
    graph.add("Reshape", [_FOREIGN + head.pooled, flat], "embedding")


def _hidden(graph: Graph, pixels: str, wish: Wish) -> str:
    """Return every image followed by itself with one cell after the other hidden."""
    shape, cells = wish.spec.preprocessing, wish.cells
    kept = np.ones((1 + cells**2, shape.height, shape.width, 1), np.float32)
    rows = np.linspace(0, shape.height, cells + 1).round().astype(int)
    columns = np.linspace(0, shape.width, cells + 1).round().astype(int)
    for cell in range(cells**2):
        top, left = divmod(cell, cells)
        kept[1 + cell, rows[top] : rows[top + 1], columns[left] : columns[left + 1]] = 0.0
    axes = graph.constant("picture", np.array([1, 2], np.int64))
    mean = graph.add("ReduceMean", [pixels, axes], "mean_colour", keepdims=1)
    one = graph.constant("one", np.array([1], np.int64))
    images = graph.add("Unsqueeze", [pixels, one], "each_image")
    colours = graph.add("Unsqueeze", [mean, one], "each_colour")
    masks = graph.constant("kept", kept[None])
    rest = graph.constant("rest", (1.0 - kept)[None])
    seen = graph.add("Mul", [images, masks], "seen")
    filled = graph.add("Mul", [colours, rest], "filled")
    both = graph.add("Add", [seen, filled], "hidden_images")
    size = graph.constant("batch_shape", np.array([-1, shape.height, shape.width, 3], np.int64))
    return graph.add("Reshape", [both, size], "batch")


def _first(graph: Graph, every: str, wish: Wish) -> None:
    """Part the answers about whole images from those about hidden ones."""
    classes = len(wish.spec.classes)
    size = graph.constant("answers_shape", np.array([-1, 1 + wish.cells**2, classes], np.int64))
    graph.add("Reshape", [every, size], "all_answers")
    zero = graph.constant("first", np.array(0, np.int64))
    graph.add("Gather", ["all_answers", zero], "logits", axis=1)


def _drops(graph: Graph, wish: Wish) -> None:
    """Say per cell how much of the explained class's probability it carries."""
    shares = graph.add("Softmax", ["all_answers"], "all_shares", axis=2)
    ends = graph.constant("ends", np.array([1, 2], np.int64))
    index = graph.add("Unsqueeze", ["explained", ends], "explained_index")
    shape = graph.constant("one_class", np.array([1, 1 + wish.cells**2, 1], np.int64))
    index = graph.add("Expand", [index, shape], "explained_indices")
    of_class = graph.add("GatherElements", [shares, index], "class_shares", axis=2)
    zero = graph.constant("whole_from", np.array([0], np.int64))
    one = graph.constant("cells_from", np.array([1], np.int64))
    last = graph.constant("cells_to", np.array([1 + wish.cells**2], np.int64))
    axis = graph.constant("answers_axis", np.array([1], np.int64))
    whole = graph.add("Slice", [of_class, zero, one, axis], "whole_share")
    parts = graph.add("Slice", [of_class, one, last, axis], "cell_shares")
    fall = graph.add("Sub", [whole, parts], "fall")
    grid = graph.constant("grid_shape", np.array([-1, wish.cells, wish.cells], np.int64))
    falls = graph.add("Reshape", [fall, grid], "falls")
    graph.add("Relu", [falls], "cam")
    graph.add("Identity", ["logits"], "embedding")


def _model(
    graph: Graph, foreign: onnx.ModelProto, wish: Wish, method: Explanation, kind: Outputs
) -> onnx.ModelProto:
    shape, classes = wish.spec.preprocessing, len(wish.spec.classes)

    def value(name: str, element: int, *sizes: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, element, ["N", *sizes])

    made = helper.make_graph(
        graph.nodes,
        "adopted",
        [
            value("images", TensorProto.UINT8, shape.height, shape.width, 3),
            value("target", TensorProto.INT64),
        ],
        [
            value("logits", TensorProto.FLOAT, classes),
            value("probabilities", TensorProto.FLOAT, classes),
            value("cam", TensorProto.FLOAT, "rows", "columns"),
            value("embedding", TensorProto.FLOAT, "features"),
            value("explained", TensorProto.INT64),
        ],
        graph.constants,
    )
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="rightly"
    )
    model.ir_version = min(_IR, max(8, foreign.ir_version))
    helper.set_model_props(
        model,
        {
            contract.CONTRACT_KEY: contract.VERSION,
            contract.GRAPH_KEY: "predict",
            contract.SPEC_KEY: specs.to_json(wish.spec),
            contract.HEATMAP_KEY: method,
            "rightly.outputs": kind,
        },
    )
    return model
