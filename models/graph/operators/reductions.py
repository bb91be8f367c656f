"""Many positions to one: sums, means, extremes, softmax, normalisations of the last axes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from models.graph.emitter import Emitter, Lowering, args, fake
from models.graph.operators.arithmetic import arguments

aten = torch.ops.aten

_MAP_AXES = 4
_SPATIAL = {2, 3}


def reduction(kind: str) -> Lowering:
    """Return a lowering to an ONNX reduction over the operator's axes."""

    def lower(emit: Emitter, node: fx.Node) -> Any:
        values, axes, keep = arguments(node, "self", "dim", "keepdim")
        return _reduce(emit, kind, node, axes=_axes(values, axes), keep=keep)

    return lower


def _mean(emit: Emitter, node: fx.Node) -> Any:
    values, axes, keep = arguments(node, "self", "dim", "keepdim")
    every = _axes(values, axes)
    if fake(values).dim() == _MAP_AXES and set(every) == _SPATIAL:
        pooled = emit.op("GlobalAveragePool", emit.name(values))
        return pooled if keep else emit.op("Flatten", pooled)
    return _reduce(emit, "ReduceMean", node, axes=every, keep=keep)


def _sum(emit: Emitter, node: fx.Node) -> Any:
    values, axes, keep = arguments(node, "self", "dim", "keepdim")
    every = _axes(values, axes)
    whole = fake(values)
    if whole.dim() == _MAP_AXES and set(every) == _SPATIAL and whole.dtype == torch.float32:
        pooled = emit.op("GlobalAveragePool", emit.name(values))
        positions = emit.scalar(float(whole.shape[2] * whole.shape[3]), torch.float32)
        total = emit.op("Mul", pooled, positions)
        return total if keep else emit.op("Flatten", total)
    return _reduce(emit, "ReduceSum", node, axes=every, keep=keep)


def _total(emit: Emitter, node: fx.Node) -> Any:
    every = range(fake(args(node)[0]).dim())
    return _reduce(emit, "ReduceSum", node, axes=every, keep=False)


def _any(emit: Emitter, node: fx.Node) -> Any:
    values, axis, keep = arguments(node, "self", "dim", "keepdim")
    ones = emit.cast(emit.name(values), torch.int32)
    most = _emit(emit, "ReduceMax", ones, axes=_axes(values, [axis]), keep=keep)
    return emit.cast(most, torch.bool)


def _extreme(kind: str, index: str) -> Lowering:
    """Return a lowering of `max.dim` or `min.dim`: the values and where they are."""

    def lower(emit: Emitter, node: fx.Node) -> Any:
        values, axis, keep = arguments(node, "self", "dim", "keepdim")
        (axis,) = _axes(values, [axis])
        name = emit.name(values)
        most = _emit(emit, kind, name, axes=[axis], keep=keep)
        return most, emit.op(index, name, axis=axis, keepdims=int(keep))

    return lower


def _argmax(emit: Emitter, node: fx.Node) -> Any:
    values, axis, keep = arguments(node, "self", "dim", "keepdim")
    (axis,) = _axes(values, [axis])
    return emit.op("ArgMax", emit.name(values), axis=axis, keepdims=int(keep))


def softmax(kind: str) -> Lowering:
    """Return a lowering to ONNX's Softmax or LogSoftmax."""

    def lower(emit: Emitter, node: fx.Node) -> Any:
        values, axis, _ = args(node)
        return emit.op(kind, emit.operand(values, fake(node).dtype), axis=axis)

    return lower


def _layer_norm(emit: Emitter, node: fx.Node) -> Any:
    """The normalised tensor, and its mean and reciprocal deviation for the gradient."""
    values, normalised, weight, bias, epsilon = args(node)
    axis = fake(values).dim() - len(normalised)
    dtype = fake(values).dtype
    scale = emit.operand(weight if weight is not None else 1.0, dtype)
    shift = [] if bias is None else [emit.name(bias)]
    return emit.op(
        "LayerNormalization",
        emit.name(values),
        scale,
        *shift,
        results=3,
        axis=axis,
        epsilon=float(epsilon),
    )


def _reduce(emit: Emitter, kind: str, node: fx.Node, *, axes: Sequence[int], keep: bool) -> Any:
    name = emit.operand(args(node)[0], fake(node).dtype)
    return _emit(emit, kind, name, axes=axes, keep=keep)


def _emit(emit: Emitter, kind: str, name: str, *, axes: Sequence[int], keep: bool) -> Any:
    """Add a reduction; opset 18 takes the axes as an input."""
    return emit.op(kind, name, emit.integers(*axes), keepdims=int(keep))


def _axes(values: fx.Node, axes: Any) -> list[int]:
    """Return axes counted from the front; all of them for None or an empty list."""
    rank = fake(values).dim()
    if axes is None or (isinstance(axes, list) and not axes):
        return list(range(rank))
    every = [axes] if isinstance(axes, int) else axes
    return sorted(axis % rank for axis in every)


LOWERINGS: dict[Any, Lowering] = {
    aten.sum.dim_IntList: _sum,
    aten.sum.default: _total,
    aten.mean.dim: _mean,
    aten.amax.default: reduction("ReduceMax"),
    aten.amin.default: reduction("ReduceMin"),
    aten.any.dim: _any,
    aten.max.dim: _extreme("ReduceMax", "ArgMax"),
    aten.min.dim: _extreme("ReduceMin", "ArgMin"),
    aten.argmax.default: _argmax,
    aten._softmax.default: softmax("Softmax"),
    aten._log_softmax.default: softmax("LogSoftmax"),
    aten.native_layer_norm.default: _layer_norm,
}
