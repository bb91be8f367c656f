"""Each operator's gradient, written in forward operators: what tracing uses instead of autograd's.

`make_fx` asks this table whenever autograd calls a backward operator. Gradients with respect to
parameters are never needed, so only the part for the input is written. What is not listed here
has its decomposition in torch, or has none and is named by the emitter.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.export import default_decompositions

from models.graph import gates, pooling, strided
from models.graph.padding import constant_pad_nd

aten = torch.ops.aten

_PLANE = 2
_FEW = 8

Rule = Callable[..., Any]


@cache
def rules() -> Mapping[OpOverload, Rule]:
    """Return the whole table: torch's decompositions, and ours in front of them."""
    table: dict[OpOverload, Rule] = dict(default_decompositions())
    for keep in _KEPT:
        table.pop(keep, None)
    table.update(_RULES)
    return table


# Operators that ONNX has as they are.
_KEPT: tuple[OpOverload, ...] = (
    aten.hardsigmoid.default,
    aten.select_scatter.default,
    aten.slice_scatter.default,
    aten.new_full.default,
    aten.new_zeros.default,
    aten.new_ones.default,
)


def convolution_backward(
    gradient: Tensor,
    image: Tensor,
    weight: Tensor,
    _bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    _output_padding: Sequence[int],
    groups: int,
    _mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradient for the input: the adjoint of the convolution, applied to `gradient`."""
    spatial = len(stride)
    none = [0] * spatial
    if transposed:
        adjoint = aten.convolution(
            gradient, weight, None, stride, padding, dilation, False, none, groups
        )
        return adjoint, None, None
    kernel = weight.shape[2:]
    reach = [dilation[axis] * (kernel[axis] - 1) for axis in range(spatial)]
    around = [reach[axis] - padding[axis] for axis in range(spatial)]
    if all(step == 1 for step in stride) and min(around) >= 0:
        flipped = strided.flipped(weight, groups)
        adjoint = aten.convolution(
            gradient, flipped, None, stride, around, dilation, False, none, groups
        )
        return adjoint, None, None
    # A handful of channels would fill one vector register out of many.
    wide = image.shape[1] >= _FEW
    if spatial == _PLANE and wide and all(step == 1 for step in dilation):
        return strided.adjoint(gradient, image, weight, stride, padding, groups), None, None
    rest = [
        image.shape[2 + axis]
        - ((gradient.shape[2 + axis] - 1) * stride[axis] - 2 * padding[axis] + reach[axis] + 1)
        for axis in range(spatial)
    ]
    adjoint = aten.convolution(
        gradient, weight, None, stride, padding, dilation, True, rest, groups
    )
    return adjoint, None, None


def threshold_backward(gradient: Tensor, result: Tensor, threshold: float) -> Tensor:
    """Return the gradient through a ReLU, given its result."""
    if threshold == 0:
        return gradient * gates.positive(result)
    return torch.where(result > threshold, gradient, 0.0)


def hardtanh_backward(gradient: Tensor, values: Tensor, low: float, high: float) -> Tensor:
    """Return the gradient through a clamp (ReLU6), given its input."""
    # The clamp itself again: tracing merges it with the forward one, so nothing else is kept.
    return gradient * gates.between(aten.hardtanh(values, low, high), low, high)


def silu_backward(gradient: Tensor, values: Tensor) -> Tensor:
    """Return the gradient through y = x·σ(x): σ·(1 + x·(1 − σ)) = σ·((1 − y) + x)."""
    sigmoid = torch.sigmoid(values)
    result = values * sigmoid
    return gradient * (sigmoid * (gates.affine(result, -1.0, 1.0) + values))


def sigmoid_backward(gradient: Tensor, result: Tensor) -> Tensor:
    """Return the gradient through a sigmoid, given its result."""
    return gradient * (result * gates.affine(result, -1.0, 1.0))


def hardsigmoid_backward(gradient: Tensor, values: Tensor) -> Tensor:
    """Return the gradient through clamp(x/6 + 1/2, 0, 1)."""
    return gradient * gates.between(values.clamp(-3.0, 3.0), -3.0, 3.0) * (1.0 / 6.0)


def hardswish_backward(gradient: Tensor, values: Tensor) -> Tensor:
    """Return the gradient through x·clamp(x/6 + 1/2, 0, 1).

    Between −3 and 3 it is x/3 + 1/2, below 0, above 1: twice the clamp minus a half, where the
    clamp is inside (0, 1), and the clamp itself at its ends.
    """
    clamped = gates.affine(values, 1.0 / 6.0, 0.5).clamp(0.0, 1.0)
    inside = gates.between(clamped, 0.0, 1.0)
    return gradient * (clamped + inside * gates.affine(clamped, 1.0, -0.5))


def hardswish(values: Tensor) -> Tensor:
    """Return x·clamp(x/6 + 1/2, 0, 1)."""
    return values * gates.affine(values, 1.0 / 6.0, 0.5).clamp(0.0, 1.0)


def max_pool_backward(
    gradient: Tensor,
    image: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil: bool,
    indices: Tensor,
) -> Tensor:
    """Send each gradient to the position that was the largest of its window."""
    stride = stride or kernel
    kernel, stride, padding, dilation = (
        _pair(each) for each in (kernel, stride, padding, dilation)
    )
    plain = not ceil and dilation == [1, 1] and image.dtype == torch.float32
    if plain and pooling.is_rectified(image) and pooling.divides(image, kernel, stride, padding):
        return pooling.adjoint(gradient, image, kernel, stride, padding)
    rows, columns = image.shape[2:]
    plane = gradient.new_zeros((image.shape[0], image.shape[1], rows * columns))
    plane = plane.scatter_add(2, indices.flatten(2), gradient.flatten(2))
    return plane.view(image.shape)


def average_pool_backward(
    gradient: Tensor,
    image: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil: bool,
    count_padding: bool,
    divisor: int | None,
) -> Tensor:
    """Spread each gradient evenly over the window that was averaged."""
    stride = stride or kernel
    kernel, stride, padding = (_pair(each) for each in (kernel, stride, padding))
    if ceil or (any(padding) and not count_padding):
        raise NotImplementedError("average pooling with ceil_mode or count_include_pad=False")
    channels = image.shape[1]
    share = 1.0 / (divisor or kernel[0] * kernel[1])
    weight = gradient.new_full((channels, 1, *kernel), share)
    spread, _, _ = convolution_backward(
        gradient, image, weight, None, stride, padding, [1, 1], False, [0, 0], channels, [True]
    )
    if spread is None:
        raise AssertionError  # pragma: no cover - the input's gradient is always given
    return spread


def adaptive_average_pool(image: Tensor, size: Sequence[int]) -> Tensor:
    """Average over an even split of rows and columns, as two products with constant matrices."""
    rows, columns = (_shares(image, axis, size[axis]) for axis in (0, 1))
    return rows @ (image @ columns.T)


def adaptive_average_pool_backward(gradient: Tensor, image: Tensor) -> Tensor:
    """Apply the transposed matrices of `adaptive_average_pool`."""
    rows, columns = (_shares(image, axis, gradient.shape[2 + axis]) for axis in (0, 1))
    return rows.T @ (gradient @ columns)


def _shares(image: Tensor, axis: int, parts: int) -> Tensor:
    """Return the [parts, size] matrix that averages `size` positions in `parts` even pieces."""
    size = image.shape[2 + axis]
    table = [[0.0] * size for _ in range(parts)]
    for part in range(parts):
        first, last = part * size // parts, -(-(part + 1) * size // parts)
        for position in range(first, last):
            table[part][position] = 1.0 / (last - first)
    return torch.tensor(table, dtype=image.dtype)


def batch_norm_backward(
    gradient: Tensor,
    _image: Tensor,
    weight: Tensor | None,
    _mean: Tensor | None,
    variance: Tensor,
    _save_mean: Tensor | None,
    _save_inverse: Tensor | None,
    _train: bool,
    epsilon: float,
    _mask: Sequence[bool],
) -> tuple[Tensor, None, None]:
    """Return the gradient through a batch normalisation with running statistics.

    It is the same normalisation without its shift, so it is written as one.
    """
    zeros = torch.zeros_like(variance)
    scaled, _, _ = aten._native_batch_norm_legit_no_training(
        gradient, weight, zeros, zeros, variance, 0.0, epsilon
    )
    return scaled, None, None


def batch_norm(
    image: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    training: bool,
    momentum: float,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise by the running statistics."""
    if training:
        raise NotImplementedError("batch normalisation in train mode")
    result: tuple[Tensor, Tensor, Tensor] = aten._native_batch_norm_legit_no_training(
        image, weight, bias, mean, variance, momentum, epsilon
    )
    return result


def softmax(values: Tensor, axis: int, dtype: torch.dtype | None = None) -> Tensor:
    """Attention's softmax; ATen's own also defines rows that are masked as a whole."""
    return torch.softmax(values, axis, dtype=dtype)


def _pair(value: Sequence[int]) -> list[int]:
    return [*value] if len(value) > 1 else [value[0], value[0]]


_RULES: dict[OpOverload, Rule] = {
    aten.convolution_backward.default: convolution_backward,
    aten.threshold_backward.default: threshold_backward,
    aten.hardtanh_backward.default: hardtanh_backward,
    aten.silu_backward.default: silu_backward,
    aten.sigmoid_backward.default: sigmoid_backward,
    aten.hardsigmoid_backward.default: hardsigmoid_backward,
    aten.hardswish.default: hardswish,
    aten.hardswish_backward.default: hardswish_backward,
    aten.max_pool2d_with_indices_backward.default: max_pool_backward,
    aten.avg_pool2d_backward.default: average_pool_backward,
    aten._adaptive_avg_pool2d.default: adaptive_average_pool,
    aten._adaptive_avg_pool2d_backward.default: adaptive_average_pool_backward,
    aten.constant_pad_nd.default: constant_pad_nd,
    aten.native_batch_norm.default: batch_norm,
    aten._safe_softmax.default: softmax,
    aten.native_batch_norm_backward.default: batch_norm_backward,
}
