"""Element by element: arithmetic, comparisons, activations, casts, filled tensors."""

from typing import Any

import numpy as np
import torch
from torch import fx

from models.errors import UntraceableError
from models.graph.emitter import Emitter, Lowering, args, fake

aten = torch.ops.aten

_MAP_AXES = 4


def arguments(node: fx.Node, *names: str) -> list[Any]:
    """Return a node's arguments by its operator's own names, defaults filled in."""
    target: Any = node.target
    declared = target._schema.arguments
    values = {each.name: each.default_value for each in declared if each.has_default_value()}
    values.update({each.name: value for each, value in zip(declared, args(node), strict=False)})
    values.update(node.kwargs)
    return [values[name] for name in names]


def unary(kind: str) -> Lowering:
    """Return a lowering to an ONNX operator with one operand."""

    def lower(emit: Emitter, node: fx.Node) -> Any:
        return emit.op(kind, emit.operand(args(node)[0], fake(node).dtype))

    return lower


def binary(kind: str) -> Lowering:
    """Return a lowering to an ONNX operator with two operands of the result's type."""

    def lower(emit: Emitter, node: fx.Node) -> Any:
        dtype = fake(node).dtype
        left, right = (_spread(emit, each, node) for each in args(node)[:2])
        alpha: Any = node.kwargs.get("alpha", 1)
        if alpha != 1:
            right = emit.op("Mul", right, emit.scalar(alpha, dtype))
        return emit.op(kind, left, right)

    return lower


def _spread(emit: Emitter, value: Any, node: fx.Node) -> str:
    """Return an operand of `node`; one value per channel [N,C,1,1] is spread over the maps."""
    result = fake(node)
    name = emit.operand(value, result.dtype)
    if isinstance(value, fx.Node) and is_per_channel(fake(value), result):
        return spread(emit, name, result)
    return name


def is_per_channel(value: torch.Tensor, result: torch.Tensor) -> bool:
    """Tell whether `value` is [N,C,1,1] where `result` is [N,C,h,w] with more positions."""
    shape = tuple(result.shape)
    return (
        result.dtype == torch.float32
        and len(shape) == _MAP_AXES
        and tuple(value.shape) == (*shape[:2], 1, 1)
        and shape[2:] != (1, 1)
    )


def spread(emit: Emitter, name: str, result: torch.Tensor) -> str:
    """Repeat one value per channel at every position, in ONNX Runtime's blocked layout.

    Broadcasting would take the maps out of that layout and back; enlarging does not.
    """
    channels = int(result.shape[1])
    # A convolution that changes nothing, but enters the layout.
    inside = emit.op(
        "Conv", name, emit.constant(np.ones((channels, 1, 1, 1), np.float32)), group=channels
    )
    scales = emit.constant(np.array([1, 1, *result.shape[2:]], dtype=np.float32))
    spread_out: str = emit.op(
        "Resize",
        inside,
        "",
        scales,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    emit.describe(spread_out, result)
    return spread_out


def comparison(kind: str, *, negated: bool = False) -> Lowering:
    """Return a lowering to an ONNX comparison, its operands in their common type."""

    def lower(emit: Emitter, node: fx.Node) -> Any:
        dtype = _common(args(node)[:2])
        result = emit.op(kind, *(emit.operand(each, dtype) for each in args(node)[:2]))
        return emit.op("Not", result) if negated else result

    return lower


def _common(values: Any) -> torch.dtype:
    """Return the type that two operands, nodes or numbers, are compared in."""
    return torch.result_type(
        *(fake(each) if isinstance(each, fx.Node) else each for each in values)
    )


def _modulo(emit: Emitter, node: fx.Node) -> Any:
    """The remainder with the dividend's sign, as C has it."""
    dtype = fake(node).dtype
    return emit.op("Mod", *(emit.operand(each, dtype) for each in args(node)[:2]), fmod=1)


def _where(emit: Emitter, node: fx.Node) -> Any:
    dtype = fake(node).dtype
    condition, left, right = args(node)
    return emit.op(
        "Where",
        emit.operand(condition, torch.bool),
        emit.operand(left, dtype),
        emit.operand(right, dtype),
    )


def _clamp(emit: Emitter, node: fx.Node) -> Any:
    dtype = fake(node).dtype
    values, *limits = args(node)
    low, high = (*limits, None, None)[:2]
    bounds = ["" if each is None else emit.operand(each, dtype) for each in (low, high)]
    return emit.op("Clip", emit.operand(values, dtype), *bounds)


def _hardtanh(emit: Emitter, node: fx.Node) -> Any:
    values, low, high = arguments(node, "self", "min_val", "max_val")
    dtype = fake(node).dtype
    return emit.op("Clip", emit.name(values), emit.scalar(low, dtype), emit.scalar(high, dtype))


def _leaky_relu(emit: Emitter, node: fx.Node) -> Any:
    values, slope = arguments(node, "self", "negative_slope")
    return emit.op("LeakyRelu", emit.name(values), alpha=float(slope))


def _elu(emit: Emitter, node: fx.Node) -> Any:
    values, alpha, scale, inner = arguments(node, "self", "alpha", "scale", "input_scale")
    if scale != 1 or inner != 1:
        raise UntraceableError("aten.elu with a scale (SELU) has no lowering")
    return emit.op("Elu", emit.name(values), alpha=float(alpha))


def _hardsigmoid(emit: Emitter, node: fx.Node) -> Any:
    return emit.op("HardSigmoid", emit.name(args(node)[0]), alpha=1 / 6, beta=0.5)


def _gelu(emit: Emitter, node: fx.Node) -> Any:
    """x·Φ(x), in the sequence that ONNX Runtime recognises and fuses."""
    values, approximate = arguments(node, "self", "approximate")
    if approximate != "none":
        raise UntraceableError("aten.gelu with the tanh approximation has no lowering")
    name, dtype = emit.name(values), fake(node).dtype
    scaled = emit.op("Div", name, emit.scalar(2**0.5, dtype))
    normal = emit.op("Add", emit.op("Erf", scaled), emit.scalar(1.0, dtype))
    return emit.op("Mul", emit.op("Mul", name, normal), emit.scalar(0.5, dtype))


def _rsqrt(emit: Emitter, node: fx.Node) -> Any:
    return emit.op("Reciprocal", emit.op("Sqrt", emit.name(args(node)[0])))


def _convert(emit: Emitter, node: fx.Node) -> Any:
    return emit.operand(args(node)[0], fake(node).dtype)


def _full(emit: Emitter, node: fx.Node) -> Any:
    """A tensor of the traced shape, filled with one number."""
    target: Any = node.target
    named = {each.name for each in target._schema.arguments}
    value = arguments(node, "fill_value")[0] if "fill_value" in named else 0
    if "ones" in target._schema.name:
        value = 1
    result = fake(node)
    filler = emit.scalar(value, result.dtype)
    return emit.op("Expand", filler, emit.shape(result.shape)) if result.dim() else filler


def _scalar_tensor(emit: Emitter, node: fx.Node) -> Any:
    return emit.scalar(args(node)[0], fake(node).dtype)


def _arange(emit: Emitter, node: fx.Node) -> Any:
    start, end, step = arguments(node, "start", "end", "step")
    if not all(isinstance(each, int | float) for each in (start, end, step)):
        raise UntraceableError("aten.arange over the batch has no lowering")
    return emit.constant(torch.arange(start, end, step, dtype=fake(node).dtype).numpy())


def _copy(emit: Emitter, node: fx.Node) -> Any:
    """`copy_`: the source, in the destination's type and shape."""
    result = fake(node)
    return emit.op("Expand", emit.operand(args(node)[1], result.dtype), emit.shape(result.shape))


_FILLED = (
    aten.full.default,
    aten.full_like.default,
    aten.zeros.default,
    aten.zeros_like.default,
    aten.ones_like.default,
    aten.new_full.default,
    aten.new_zeros.default,
    aten.new_ones.default,
    aten.empty.memory_format,
    aten.empty_like.default,
    aten.new_empty.default,
    aten.new_empty_strided.default,
    aten.empty_strided.default,
)

LOWERINGS: dict[Any, Lowering] = {
    aten.add.Tensor: binary("Add"),
    aten.add.Scalar: binary("Add"),
    aten.sub.Tensor: binary("Sub"),
    aten.sub.Scalar: binary("Sub"),
    aten.mul.Tensor: binary("Mul"),
    aten.mul.Scalar: binary("Mul"),
    aten.div.Tensor: binary("Div"),
    aten.div.Scalar: binary("Div"),
    aten.maximum.default: binary("Max"),
    aten.minimum.default: binary("Min"),
    aten.pow.Tensor_Scalar: binary("Pow"),
    aten.pow.Tensor_Tensor: binary("Pow"),
    aten.fmod.Scalar: _modulo,
    aten.fmod.Tensor: _modulo,
    aten.neg.default: unary("Neg"),
    aten.abs.default: unary("Abs"),
    aten.sign.default: unary("Sign"),
    aten.exp.default: unary("Exp"),
    aten.log.default: unary("Log"),
    aten.sqrt.default: unary("Sqrt"),
    aten.rsqrt.default: _rsqrt,
    aten.reciprocal.default: unary("Reciprocal"),
    aten.erf.default: unary("Erf"),
    aten.sigmoid.default: unary("Sigmoid"),
    aten.tanh.default: unary("Tanh"),
    aten.relu.default: unary("Relu"),
    aten.hardsigmoid.default: _hardsigmoid,
    aten.hardtanh.default: _hardtanh,
    aten.leaky_relu.default: _leaky_relu,
    aten.elu.default: _elu,
    aten.gelu.default: _gelu,
    aten.clamp.default: _clamp,
    aten.clamp_min.default: _clamp,
    aten.where.self: _where,
    aten.eq.Scalar: comparison("Equal"),
    aten.eq.Tensor: comparison("Equal"),
    aten.ne.Scalar: comparison("Equal", negated=True),
    aten.lt.Scalar: comparison("Less"),
    aten.lt.Tensor: comparison("Less"),
    aten.le.Scalar: comparison("LessOrEqual"),
    aten.le.Tensor: comparison("LessOrEqual"),
    aten.gt.Scalar: comparison("Greater"),
    aten.gt.Tensor: comparison("Greater"),
    aten.ge.Scalar: comparison("GreaterOrEqual"),
    aten.ge.Tensor: comparison("GreaterOrEqual"),
    aten.logical_not.default: unary("Not"),
    aten.bitwise_not.default: unary("Not"),
    aten.logical_and.default: binary("And"),
    aten.bitwise_and.Tensor: binary("And"),
    aten.logical_or.default: binary("Or"),
    aten.bitwise_or.Tensor: binary("Or"),
    aten._to_copy.default: _convert,
    aten.scalar_tensor.default: _scalar_tensor,
    aten.arange.start_step: _arange,
    aten.copy.default: _copy,
    **dict.fromkeys(_FILLED, _full),
}
