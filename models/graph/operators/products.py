"""Weighted sums: matrix products, convolutions, poolings, normalisation per channel."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from models.errors import UntraceableError
from models.graph.emitter import Emitter, Lowering, args, fake
from models.graph.operators.arithmetic import arguments
from models.graph.padding import OPERATOR

aten = torch.ops.aten

_PLANE_PADS = 4  # left, right, above, below


def _product(emit: Emitter, node: fx.Node) -> Any:
    left, right = args(node)
    return emit.op("MatMul", emit.name(left), emit.name(right))


def _affine(emit: Emitter, node: fx.Node) -> Any:
    bias, left, right = args(node)[:3]
    return emit.op("Gemm", emit.name(left), emit.name(right), emit.name(bias))


def _convolution(emit: Emitter, node: fx.Node) -> Any:
    image, weight, bias, stride, padding, dilation, transposed, extra, groups = args(node)
    pads = _each(padding) * 2
    if image.target is OPERATOR and not transposed:
        image, pads = _absorbed(image, pads)
    inputs = [emit.name(each) for each in (image, weight, bias) if each is not None]
    common: dict[str, Any] = {
        "strides": _each(stride),
        "pads": pads,
        "dilations": _each(dilation),
        "kernel_shape": list(fake(weight).shape[2:]),
        "group": groups,
    }
    if transposed:
        return emit.op("ConvTranspose", *inputs, output_padding=_each(extra), **common)
    return emit.op("Conv", *inputs, **common)


def _absorbed(padded: fx.Node, pads: list[int]) -> tuple[fx.Node, list[int]]:
    """Return what a padding with zeros was applied to, and the padding for the convolution."""
    image, amounts, value = args(padded)
    if value != 0 or len(amounts) != _PLANE_PADS or min(amounts) < 0:
        return padded, pads
    left, right, above, below = amounts
    return image, [sum(each) for each in zip(pads, (above, left, below, right), strict=True)]


def _batch_norm(emit: Emitter, node: fx.Node) -> Any:
    """Normalisation by running statistics; the two saved statistics are empty then."""
    image, weight, bias, mean, variance, _, epsilon = args(node)
    channels = fake(image).shape[1]
    dtype = fake(image).dtype
    scale = emit.name(weight) if weight is not None else _filled(emit, 1.0, channels, dtype)
    shift = emit.name(bias) if bias is not None else _filled(emit, 0.0, channels, dtype)
    result = emit.op(
        "BatchNormalization",
        emit.name(image),
        scale,
        shift,
        emit.name(mean),
        emit.name(variance),
        epsilon=float(epsilon),
    )
    return result, "", ""


def _max_pool(emit: Emitter, node: fx.Node) -> Any:
    """The pooled maps, and where in its own plane each maximum lay when somebody asks."""
    image, kernel, stride, padding, dilation, ceil = arguments(
        node, "self", "kernel_size", "stride", "padding", "dilation", "ceil_mode"
    )
    common: dict[str, Any] = {
        "kernel_shape": _each(kernel),
        "strides": _each(stride or kernel),
        "pads": _each(padding) * 2,
        "dilations": _each(dilation),
        "ceil_mode": int(ceil),
    }
    indexed = any(user.args[1] == 1 for user in node.users)
    if not indexed:
        return emit.op("MaxPool", emit.name(image), **common), ""
    pooled, places = emit.op("MaxPool", emit.name(image), results=2, **common)
    rows, columns = fake(image).shape[2:]
    # ONNX counts positions through the whole tensor, ATen within each plane.
    plane = emit.scalar(int(rows * columns), torch.int64)
    return pooled, emit.op("Mod", places, plane)


def _average_pool(emit: Emitter, node: fx.Node) -> Any:
    image, kernel, stride, padding, ceil, count, divisor = arguments(
        node,
        "self",
        "kernel_size",
        "stride",
        "padding",
        "ceil_mode",
        "count_include_pad",
        "divisor_override",
    )
    if divisor is not None:
        raise UntraceableError("aten.avg_pool2d with a divisor of its own has no lowering")
    return emit.op(
        "AveragePool",
        emit.name(image),
        kernel_shape=_each(kernel),
        strides=_each(stride or kernel),
        pads=_each(padding) * 2,
        ceil_mode=int(ceil),
        count_include_pad=int(count),
    )


def _each(values: Any) -> list[int]:
    """Return one number per spatial axis; a single one counts for both."""
    every: Sequence[int] = values if isinstance(values, list | tuple) else [values]
    return [*every] if len(every) > 1 else [every[0], every[0]]


def _filled(emit: Emitter, value: float, count: int, dtype: torch.dtype) -> str:
    kind = torch.zeros(0, dtype=dtype).numpy().dtype
    return emit.constant(np.full(count, value, dtype=kind))


LOWERINGS: dict[Any, Lowering] = {
    aten.mm.default: _product,
    aten.bmm.default: _product,
    aten.matmul.default: _product,
    aten.addmm.default: _affine,
    aten.convolution.default: _convolution,
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten.max_pool2d_with_indices.default: _max_pool,
    aten.avg_pool2d.default: _average_pool,
}
