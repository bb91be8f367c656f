"""The same numbers laid out differently: views, permutations, slices, joins, padding."""

import operator
from typing import Any

import torch
from torch import fx

from models.errors import UntraceableError
from models.graph import padding
from models.graph.emitter import Emitter, Lowering, args, fake
from models.graph.operators.arithmetic import arguments, is_per_channel, spread

aten = torch.ops.aten

_END = 2**63 - 1


def _reshape(emit: Emitter, node: fx.Node) -> Any:
    return emit.op("Reshape", emit.name(args(node)[0]), emit.target(fake(node).shape))


def _expand(emit: Emitter, node: fx.Node) -> Any:
    value, result = fake(args(node)[0]), fake(node)
    if is_per_channel(value, result):
        return spread(emit, emit.name(args(node)[0]), result)
    return emit.op("Expand", emit.name(args(node)[0]), emit.shape(fake(node).shape))


def _permute(emit: Emitter, node: fx.Node) -> Any:
    values, order = args(node)
    rank = fake(node).dim()
    return emit.op("Transpose", emit.name(values), perm=[axis % rank for axis in order])


def _transpose(emit: Emitter, node: fx.Node) -> Any:
    values, *axes = args(node)
    rank = fake(node).dim()
    first, second = (axis % rank for axis in (axes or (0, 1)))
    order = list(range(rank))
    order[first], order[second] = second, first
    return emit.op("Transpose", emit.name(values), perm=order)


def _matrix_transpose(emit: Emitter, node: fx.Node) -> Any:
    return emit.op("Transpose", emit.name(args(node)[0]), perm=[1, 0])


def _slice(emit: Emitter, node: fx.Node) -> Any:
    values, axis, start, end, step = arguments(node, "self", "dim", "start", "end", "step")
    bounds = (start or 0, _END if end is None else end)
    if not all(isinstance(each, int) for each in bounds):
        if fake(values).shape == fake(node).shape:
            return emit.name(values)
        raise UntraceableError("aten.slice along the batch has no lowering")
    limits = [emit.integers(each) for each in bounds]
    return emit.op("Slice", emit.name(values), *limits, emit.integers(axis), emit.integers(step))


def _select(emit: Emitter, node: fx.Node) -> Any:
    values, axis, index = args(node)
    return emit.op("Gather", emit.name(values), emit.scalar(index, torch.int64), axis=axis)


def _flip(emit: Emitter, node: fx.Node) -> Any:
    values, axes = args(node)
    count = len(axes)
    return emit.op(
        "Slice",
        emit.name(values),
        emit.integers(*[-1] * count),
        emit.integers(*[-_END] * count),
        emit.integers(*axes),
        emit.integers(*[-1] * count),
    )


def _join(emit: Emitter, node: fx.Node) -> Any:
    values, axis = arguments(node, "tensors", "dim")
    dtype = fake(node).dtype
    parts = [emit.operand(each, dtype) for each in values if fake(each).numel() != 0]
    return emit.op("Concat", *parts, axis=axis)


def _split(emit: Emitter, node: fx.Node) -> Any:
    values, sizes, axis = arguments(node, "self", "split_sizes", "dim")
    parts = emit.op(
        "Split", emit.name(values), emit.integers(*sizes), axis=axis, results=len(sizes)
    )
    return parts if isinstance(parts, tuple) else (parts,)


def _pad(emit: Emitter, node: fx.Node) -> Any:
    values, pads, filler = args(node)
    rank = fake(node).dim()
    begins, ends = [0] * rank, [0] * rank
    for back in range(len(pads) // 2):
        begins[rank - 1 - back], ends[rank - 1 - back] = pads[2 * back], pads[2 * back + 1]
    return emit.op(
        "Pad",
        emit.name(values),
        emit.integers(*begins, *ends),
        emit.scalar(filler, fake(node).dtype),
    )


def _repeat(emit: Emitter, node: fx.Node) -> Any:
    values, times = args(node)
    missing = len(times) - fake(values).dim()
    name = emit.name(values)
    if missing:
        name = emit.op("Unsqueeze", name, emit.integers(*range(missing)))
    return emit.op("Tile", name, emit.integers(*times))


def _item(emit: Emitter, node: fx.Node) -> Any:
    values, index = args(node)
    return emit.name(values)[index]


def _same(emit: Emitter, node: fx.Node) -> Any:
    return emit.name(args(node)[0])


def _pixel_shuffle(emit: Emitter, node: fx.Node) -> Any:
    values, factor = args(node)
    return emit.op("DepthToSpace", emit.name(values), blocksize=factor, mode="CRD")


_RESHAPES = (
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten.unsqueeze.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
)
_RENAMES = (
    aten.alias.default,
    aten.detach.default,
    aten.clone.default,
    aten.lift_fresh_copy.default,
)

LOWERINGS: dict[Any, Lowering] = {
    **dict.fromkeys(_RESHAPES, _reshape),
    **dict.fromkeys(_RENAMES, _same),
    aten.expand.default: _expand,
    aten.permute.default: _permute,
    aten.transpose.int: _transpose,
    aten.t.default: _matrix_transpose,
    aten.slice.Tensor: _slice,
    aten.select.int: _select,
    aten.flip.default: _flip,
    aten.cat.default: _join,
    aten.split_with_sizes.default: _split,
    padding.OPERATOR: _pad,
    aten.repeat.default: _repeat,
    aten.pixel_shuffle.default: _pixel_shuffle,
    operator.getitem: _item,
}
