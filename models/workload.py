"""How much work one image is for a graph, read off its shapes: it decides how a CPU runs it.

A batch larger than the caches hold is slower per image than its images one by one, and an
operator that takes some ten microseconds is over before a second thread has woken up.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import onnx

# One thread alone is faster below this, measured with two: MobileNetV2's gradient has 2 million
# multiplications per operator and takes half the time, ResNet-18's has 14 and takes a tenth more.
_LIGHT: Final = 3_000_000
# A run of fewer multiplications is mostly the call itself.
_WORTH_A_RUN: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class Workload:
    """The arithmetic of one image.

    Attributes:
        multiplications: Of convolutions and matrix products whose sizes the graph states.
        operators: All nodes.
    """

    multiplications: int
    operators: int

    @property
    def is_light(self) -> bool:
        """Whether its operators are too small to be shared among threads."""
        return 0 < self.multiplications < _LIGHT * self.operators

    def images_per_run(self, most: int) -> int:
        """Return how many images one run should take, at most `most`."""
        if self.multiplications == 0:
            return most  # nothing is known
        return max(1, min(most, _WORTH_A_RUN // self.multiplications))


def of_graph(content: bytes) -> Workload:
    """Return the workload of a serialised ONNX model whose first axis is the batch."""
    graph = onnx.load_model_from_string(content).graph
    sizes = {each.name: list(each.dims) for each in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        sizes[value.name] = [1, *(each.dim_value for each in dims[1:])] if dims else []
    total = sum(_multiplications(node, sizes) for node in graph.node)
    return Workload(total, len(graph.node))


def _multiplications(node: onnx.NodeProto, sizes: Mapping[str, list[int]]) -> int:
    """Return the multiplications of one node; 0 where a size is not stated."""
    if node.op_type not in {"Conv", "ConvTranspose", "Gemm", "MatMul"}:
        return 0
    left, right = (sizes.get(each) or [0] for each in node.input[:2])
    result = sizes.get(node.output[0]) or [0]
    if node.op_type == "Conv":
        return math.prod(result) * math.prod(right[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(left) * math.prod(right[1:])
    return math.prod(result) * left[-1]
