"""A graph cut down to some of its outputs, so that nothing else is computed.

ONNX Runtime runs a whole graph whichever outputs are asked for. What leads only to the other
outputs must be gone before the session is made.
"""

from collections.abc import Collection, Iterator

import onnx


def trimmed(content: bytes, outputs: Collection[str]) -> bytes:
    """Return the graph with these outputs alone; its inputs and its metadata stay.

    Args:
        content: A serialised ONNX model that has all of `outputs`.
        outputs: Names of the outputs to keep.
    """
    model = onnx.load_model_from_string(content)
    graph = model.graph
    wanted, kept = set(outputs), []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(_read(node))
            kept.append(node)
    results = [each for each in graph.output if each.name in outputs]
    constants = [each for each in graph.initializer if each.name in wanted]
    shapes = [each for each in graph.value_info if each.name in wanted]
    for field, values in (
        (graph.node, kept[::-1]),
        (graph.output, results),
        (graph.initializer, constants),
        (graph.value_info, shapes),
    ):
        copies = [type(each).FromString(each.SerializeToString()) for each in values]
        del field[:]
        field.extend(copies)
    return bytes(model.SerializeToString(deterministic=True))


def _read(node: onnx.NodeProto) -> Iterator[str]:
    """Yield what a node reads, in its branches and loop bodies too."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _read(inner)
            yield from (each.name for each in graph.output)
