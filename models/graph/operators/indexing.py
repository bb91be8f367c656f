"""Reading and writing by index: gather, scatter, embedding, slices written back."""

from typing import Any

import torch
from torch import fx

from models.errors import UntraceableError
from models.graph.emitter import Emitter, Lowering, args, fake
from models.graph.operators.arithmetic import arguments

aten = torch.ops.aten

_END = 2**63 - 1


def _gather(emit: Emitter, node: fx.Node) -> Any:
    values, axis, index = args(node)[:3]
    return emit.op("GatherElements", emit.name(values), emit.name(index), axis=axis)


def _scatter(reduction: str | None) -> Lowering:
    """Return a lowering to ScatterElements, adding where `reduction` says so."""

    def lower(emit: Emitter, node: fx.Node) -> Any:
        values, axis, index, source = args(node)[:4]
        if isinstance(source, fx.Node):
            update = emit.name(source)
        else:
            filler = emit.scalar(source, fake(node).dtype)
            update = emit.op("Expand", filler, emit.shape(fake(index).shape))
        into, dtype = emit.name(values), fake(node).dtype
        half = dtype == torch.float16 and reduction is not None  # ONNX Runtime cannot add those
        if half:
            into, update = (emit.cast(each, torch.float32) for each in (into, update))
        result = emit.op(
            "ScatterElements",
            into,
            emit.name(index),
            update,
            axis=axis,
            reduction=reduction,
        )
        return emit.cast(result, dtype) if half else result

    return lower


def _index_select(emit: Emitter, node: fx.Node) -> Any:
    values, axis, index = args(node)
    return emit.op("Gather", emit.name(values), emit.name(index), axis=axis)


def _embedding(emit: Emitter, node: fx.Node) -> Any:
    weight, index = args(node)[:2]
    return emit.op("Gather", emit.name(weight), emit.name(index), axis=0)


def _index(emit: Emitter, node: fx.Node) -> Any:
    """Advanced indexing along a single axis."""
    values, indices = args(node)
    places = [axis for axis, each in enumerate(indices) if each is not None]
    if len(places) != 1:
        raise UntraceableError("aten.index along several axes has no lowering")
    (axis,) = places
    return emit.op("Gather", emit.name(values), emit.name(indices[axis]), axis=axis)


def _slice_scatter(emit: Emitter, node: fx.Node) -> Any:
    """Write a slice: what lies before, the source, what lies behind."""
    values, source, axis, start, end, step = arguments(
        node, "self", "src", "dim", "start", "end", "step"
    )
    if fake(values).shape == fake(source).shape:
        return emit.name(source)
    size = fake(values).shape[axis]
    if step != 1 or not isinstance(size, int):
        raise UntraceableError("aten.slice_scatter with a step or along the batch")
    first = (start or 0) % size if (start or 0) < 0 else (start or 0)
    last = first + int(fake(source).shape[axis])
    del end
    pieces = []
    if first:
        pieces.append(_cut(emit, values, axis, 0, first))
    pieces.append(emit.name(source))
    if last < size:
        pieces.append(_cut(emit, values, axis, last, _END))
    return emit.op("Concat", *pieces, axis=axis)


def _select_scatter(emit: Emitter, node: fx.Node) -> Any:
    """Write one index along an axis: what lies before, the source, what lies behind."""
    values, source, axis, index = arguments(node, "self", "src", "dim", "index")
    size = fake(values).shape[axis]
    index = index % size
    row = emit.op("Unsqueeze", emit.name(source), emit.integers(axis))
    pieces = [_cut(emit, values, axis, 0, index)] if index else []
    pieces.append(row)
    if index + 1 < size:
        pieces.append(_cut(emit, values, axis, index + 1, _END))
    return emit.op("Concat", *pieces, axis=axis)


def _cut(emit: Emitter, values: fx.Node, axis: int, start: int, end: int) -> str:
    name: str = emit.op(
        "Slice",
        emit.name(values),
        emit.integers(start),
        emit.integers(end),
        emit.integers(axis),
        emit.integers(1),
    )
    return name


LOWERINGS: dict[Any, Lowering] = {
    aten.gather.default: _gather,
    aten.scatter.src: _scatter(None),
    aten.scatter.value: _scatter(None),
    aten.scatter_add.default: _scatter("add"),
    aten.index_select.default: _index_select,
    aten.embedding.default: _embedding,
    aten.index.Tensor: _index,
    aten.slice_scatter.default: _slice_scatter,
    aten.select_scatter.default: _select_scatter,
}
