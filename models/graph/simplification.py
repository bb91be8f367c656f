"""Identities that spare the explanation's head most of its work.

Grad-CAM needs the derivative of one logit. Autograd starts it from a matrix with a single 1 per
row, and multiplies that by the whole weight of the last layer; one row of the weight is the same.
Behind global pooling every position has the same gradient, so its mean is any of them.
"""

from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

_CLASSES = 1  # the axis along which one entry per row was written


def simplify(graph: fx.Graph) -> None:
    """Apply the identities wherever they hold."""
    for node in list(graph.nodes):
        if node.target is aten.mm.default:
            _take_rows(graph, node)
        elif node.target is aten.mean.dim:
            _skip_mean(node)
        elif node.target is aten.div.Scalar:
            _divide_first(node)


def _take_rows(graph: fx.Graph, node: fx.Node) -> None:
    """Replace (zeros with one value v per row, at column k) @ W by v · W[k]."""
    sparse, weight = (_node(each) for each in node.args)
    if sparse.target is not aten.scatter_add.default:
        return
    zeros, axis, index, values = sparse.args[:4]
    start = _node(zeros)
    single = _node(index).meta["val"].shape[-1] == 1
    if start.target is not aten.new_zeros.default or axis != _CLASSES or not single:
        return
    with graph.inserting_before(node):
        column = _insert(graph, aten.squeeze.dim, (index, _CLASSES))
        rows = _insert(graph, aten.index_select.default, (weight, 0, column))
        scaled = _insert(graph, aten.mul.Tensor, (rows, values))
    node.replace_all_uses_with(scaled)
    graph.erase_node(node)


def _skip_mean(node: fx.Node) -> None:
    """Replace the mean over positions of a value per channel, spread out, by that value."""
    spread, axes, keep = (*node.args, False)[:3]
    source = _node(spread)
    if source.target is not aten.expand.default or not keep or sorted(axes) != [2, 3]:  # type: ignore[arg-type]
        return
    value = _node(source.args[0])
    if tuple(value.meta["val"].shape[2:]) != (1, 1):
        return
    node.replace_all_uses_with(value)
    node.graph.erase_node(node)


def _divide_first(node: fx.Node) -> None:
    """Divide a value per channel before it is spread over all positions, not afterwards."""
    expanded = _node(node.args[0])
    if expanded.target is not aten.expand.default:
        return
    with node.graph.inserting_before(node):
        value = _insert(node.graph, aten.div.Scalar, (expanded.args[0], node.args[1]))
        result = _insert(node.graph, aten.expand.default, (value, expanded.args[1]))
    node.replace_all_uses_with(result)
    node.graph.erase_node(node)


def _insert(graph: fx.Graph, target: Any, args: tuple[Any, ...]) -> fx.Node:
    node = graph.call_function(target, args)
    shapes = tuple(fx.map_arg(args, lambda each: each.meta["val"]))
    first = next(each for each in shapes if isinstance(each, torch.Tensor))
    with first.fake_mode:  # type: ignore[attr-defined]  # every traced tensor is a fake one
        node.meta["val"] = target(*shapes)
    return node


def _node(value: Any) -> fx.Node:
    if not isinstance(value, fx.Node):
        raise TypeError(f"expected a node of the graph, got {value!r}")
    return value
