"""Write a traced graph as an ONNX model: walk the operators, keep constants, name every value.

Only the batch axis is symbolic, so a shape is a list of numbers with at most a multiple of the
batch in it. Names follow the traced graph, which makes equal classifiers equal bytes.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, fx

from models.errors import UntraceableError

OPSET = 18  # the newest one whose convolutions and poolings ORT's blocked layout accepts
_IR = 9
_BATCH = "batch"

Lowering = Callable[["Emitter", fx.Node], Any]

_TYPES: dict[torch.dtype, int] = {
    torch.float32: TensorProto.FLOAT,
    torch.float16: TensorProto.FLOAT16,
    torch.float64: TensorProto.DOUBLE,
    torch.int64: TensorProto.INT64,
    torch.int32: TensorProto.INT32,
    torch.uint8: TensorProto.UINT8,
    torch.int8: TensorProto.INT8,
    torch.bool: TensorProto.BOOL,
}


class Emitter:
    """Collects ONNX nodes and constants while the lowerings run; used once per model."""

    def __init__(self, module: fx.GraphModule, inputs: Sequence[str]) -> None:
        self._module = module
        self._inputs = inputs
        self._names: dict[fx.Node, Any] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._by_content: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._shapes: dict[str, onnx.ValueInfoProto] = {}
        self._current = "start"
        self._count = 0
        self._batch: str | None = None

    def name(self, node: fx.Node) -> Any:
        """Return the ONNX name of what a node computed; a tuple where it has several results."""
        return self._names[node]

    def op(self, kind: str, *inputs: str, results: int = 1, **attributes: Any) -> Any:
        """Add one ONNX node and return the name of its result, or a tuple of `results` names."""
        names = tuple(self._fresh() for _ in range(results))
        given = {key: value for key, value in attributes.items() if value is not None}
        self._nodes.append(helper.make_node(kind, inputs, names, name=names[0], **given))
        return names[0] if results == 1 else names

    def constant(self, values: NDArray[Any]) -> str:
        """Return the name of a constant; equal constants are stored once."""
        values = np.ascontiguousarray(values).reshape(values.shape)
        digest = hashlib.sha256(values.tobytes()).digest()
        key = (str(values.dtype), values.shape, digest)
        if key not in self._by_content:
            name = f"constant_{len(self._constants)}"
            self._by_content[key] = name
            self._constants[name] = numpy_helper.from_array(values, name)
        return self._by_content[key]

    def integers(self, *values: int) -> str:
        """Return the name of a constant int64 vector."""
        return self.constant(np.array(values, dtype=np.int64))

    def scalar(self, value: float, dtype: torch.dtype) -> str:
        """Return the name of a constant of rank 0."""
        return self.constant(torch.tensor(value, dtype=dtype).numpy())

    def operand(self, value: Any, dtype: torch.dtype) -> str:
        """Return the name of an argument, cast to `dtype`."""
        if isinstance(value, fx.Node):
            name: str = self.name(value)
            return self.cast(name, dtype) if fake(value).dtype != dtype else name
        return self.scalar(value, dtype)

    def cast(self, name: str, dtype: torch.dtype) -> str:
        """Convert a value to `dtype`."""
        if dtype not in _TYPES:
            raise UntraceableError(f"{self._current} computes in {dtype}, which is not served")
        result: str = self.op("Cast", name, to=_TYPES[dtype])
        return result

    def shape(self, sizes: Sequence[int | torch.SymInt]) -> str:
        """Return the name of an int64 vector with these sizes, the batch filled in when run."""
        if all(isinstance(size, int) for size in sizes):
            return self.integers(*(int(size) for size in sizes))
        parts = [
            self.integers(size) if isinstance(size, int) else self._symbolic(size)
            for size in sizes
        ]
        name: str = self.op("Concat", *parts, axis=0)
        return name

    def target(self, sizes: Sequence[int | torch.SymInt]) -> str:
        """Return sizes for a Reshape; one symbolic axis is left to be inferred."""
        if sum(not isinstance(size, int) for size in sizes) > 1:
            return self.shape(sizes)
        return self.integers(*(size if isinstance(size, int) else -1 for size in sizes))

    def describe(self, name: str, value: Tensor) -> None:
        """Record the shape of a value: ONNX Runtime loses the batch in computed shapes.

        Where it cannot prove that two tensors have the same shape, it takes both out of the
        blocked layout of the convolutions.
        """
        if name not in self._constants:
            self._shapes[name] = _described(name, value)

    def model(self, lowerings: Mapping[Any, Lowering], outputs: Sequence[str]) -> onnx.ModelProto:
        """Lower every node and return the model, its results named `outputs`.

        Raises:
            UntraceableError: Naming every operator that has no lowering.
        """
        self._refuse_unknown(lowerings)
        inputs: list[onnx.ValueInfoProto] = []
        for node in self._module.graph.nodes:
            self._current, self._count = node.name, 0
            if node.op == "placeholder":
                name = self._inputs[len(inputs)]
                inputs.append(_described(name, fake(node)))
                self._names[node] = name
            elif node.op == "get_attr":
                self._names[node] = self._attribute(node.target)
            elif node.op == "call_function" and node.target in lowerings:
                self._names[node] = lowerings[node.target](self, node)
                if isinstance(self._names[node], str):
                    self.describe(self._names[node], fake(node))
            elif node.op == "output":
                results = [
                    self._result(each, name)
                    for each, name in zip(node.args[0], outputs, strict=True)
                ]
        nodes = _needed(self._nodes, outputs)
        read = {name for node in nodes for name in node.input}
        graph = helper.make_graph(
            nodes,
            "rightly",
            inputs,
            results,
            [value for name, value in self._constants.items() if name in read],
            value_info=list(self._shapes.values()),
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR,
            producer_name="rightly",
        )

    def _refuse_unknown(self, lowerings: Mapping[Any, Lowering]) -> None:
        unknown = {
            str(node.target)
            for node in self._module.graph.nodes
            if node.op == "call_function"
            and node.target not in lowerings
            and isinstance(node.meta.get("val"), Tensor | tuple | list)
        }
        if unknown:
            raise UntraceableError(
                f"no ONNX lowering for {', '.join(sorted(unknown))}; "
                "add one in models/graph/operators"
            )

    def _attribute(self, target: str) -> str:
        value: Any = self._module
        for part in target.split("."):
            value = getattr(value, part)
        return self.constant(value.detach().cpu().numpy())

    def _result(self, node: fx.Node, name: str) -> onnx.ValueInfoProto:
        self._nodes.append(helper.make_node("Identity", [self.name(node)], [name], name=name))
        return _described(name, fake(node))

    def _fresh(self) -> str:
        self._count += 1
        return f"{self._current}.{self._count}"

    def _symbolic(self, size: torch.SymInt) -> str:
        """Return the name of a vector with one size: a multiple of the batch."""
        factor, symbol = size.node.expr.as_coeff_Mul()
        if not symbol.is_Symbol or not factor.is_Integer:
            raise UntraceableError(
                f"{self._current} has the size {size}, no multiple of the batch"
            )
        if self._batch is None:
            self._batch = self.op("Shape", self._inputs[0], start=0, end=1)
        if factor == 1:
            return self._batch
        name: str = self.op("Mul", self._batch, self.integers(int(factor)))
        return name


def _needed(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """Return the nodes that the outputs depend on; a lowering may have absorbed another node."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def args(node: fx.Node) -> tuple[Any, ...]:
    """Return a node's positional arguments: nodes, numbers, lists of both."""
    return node.args


def fake(node: fx.Node) -> Tensor:
    """Return the shape and type that tracing saw for a node's only result."""
    value = node.meta["val"]
    if not isinstance(value, Tensor):
        raise UntraceableError(f"{node.name} is no tensor but {type(value).__name__}")
    return value


def _described(name: str, value: Tensor) -> onnx.ValueInfoProto:
    sizes = [
        size if isinstance(size, int) else _BATCH if size.node.expr.is_Symbol else None
        for size in value.shape
    ]
    return helper.make_tensor_value_info(name, _TYPES[value.dtype], sizes)
