"""Convolutions and frozen batch normalisation whose second derivatives cost what they must.

A loss on input gradients is differentiated twice. There torch computes the gradient of a weight
as a convolution with swapped axes, 1.5 to 15 times as slow as its own kernel for the same sums,
and takes batch normalisation apart into a dozen passes over memory. Here every derivative of a
convolution is made of torch's kernels for its first one, and batch normalisation in eval mode is
the affine map that it is. The parts are composed of each other, so that derivatives of any order
exist; they equal torch's to rounding.
"""

# ruff: noqa: ANN401  # autograd's context takes any attribute, its functions any argument
# ruff: noqa: PLR0917  # and both torch's convolution and autograd pass by position

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from typing_extensions import override

Function: TypeAlias = Callable[..., Any]
_CONVOLUTIONS: frozenset[Function] = frozenset({functional.conv2d, torch.conv2d})
_PIXELS_ONLY: ContextVar[bool] = ContextVar("pixels_only", default=False)


@contextmanager
def twice_differentiable(pixels: Tensor) -> Iterator[None]:
    """Let the pass that runs inside be differentiated twice at the cost it must have.

    Nothing changes where torch's own way is not the slower one, or was not compared: on a GPU
    and under autocast.

    Args:
        pixels: The leaf that the pass begins with. Its gradient exists inside `pixels_only`; what
            is made of that gradient has none by the pixels again.
    """
    if pixels.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        yield
        return
    with _Substitutes(pixels):
        yield


@contextmanager
def pixels_only() -> Iterator[None]:
    """Compute the gradient by the pixels inside, and none by a weight; outside the reverse.

    Autograd finds out what nobody asked for, but tells only its own operators.
    """
    token = _PIXELS_ONLY.set(True)
    try:
        yield
    finally:
        _PIXELS_ONLY.reset(token)


class _Geometry(NamedTuple):
    """How a convolution moves over its input, and whether only pixels are behind that."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    leading: bool = False


class _Statistics(NamedTuple):
    """By what batch normalisation in eval mode scales and shifts, beside its parameters."""

    mean: Tensor
    variance: Tensor
    epsilon: float


class _Substitutes(TorchFunctionMode):
    """Puts the operators of this module in the place of torch's."""

    def __init__(self, pixels: Tensor) -> None:
        super().__init__()
        self._pixels = pixels
        self._convolved = False

    @override
    def __torch_function__(
        self,
        func: Function,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func in _CONVOLUTIONS:
            leading = not self._convolved and _comes_from(args[0], self._pixels)
            self._convolved = True
            return _convolve(*args, **options, leading=leading)
        if func is functional.batch_norm and options.get("training") is False:
            return _normalise(*args, **options)
        return func(*args, **options)


def _convolve(  # the arguments of `torch.nn.functional.conv2d`
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | str | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    *,
    leading: bool,
) -> Tensor:
    if isinstance(padding, str):
        return functional.conv2d(inputs, weight, bias, stride, padding, dilation, groups)
    geometry = _Geometry(_pair(stride), _pair(padding), _pair(dilation), groups, leading)
    outputs: Tensor = _Convolution.apply(inputs, weight, geometry)
    return outputs if bias is None else outputs + bias[:, None, None]


def _normalise(  # the arguments of `torch.nn.functional.batch_norm`
    inputs: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    del training, momentum
    channels = (inputs.shape[1],)
    weight = inputs.new_ones(channels) if weight is None else weight
    bias = inputs.new_zeros(channels) if bias is None else bias
    outputs: Tensor = _Normalisation.apply(
        inputs, weight, bias, _Statistics(running_mean, running_var, eps)
    )
    return outputs


class _Convolution(torch.autograd.Function):
    """Convolve inputs [N,C,H,W] with a weight [K,C/groups,h,w]."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.set_materialize_grads(False)
        ctx.geometry = geometry
        return functional.conv2d(inputs, weight, None, *geometry[:4])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        if gradients[0] is None:  # nothing comes down this branch
            return None, None, None
        inputs, weight = ctx.saved_tensors
        explaining = _PIXELS_ONLY.get()
        by_inputs, by_weight, _ = ctx.needs_input_grad
        wanted = (
            by_inputs and (explaining or not ctx.geometry.leading),
            by_weight and not explaining,
        )
        found = _Derivatives.apply(gradients[0], inputs, weight, ctx.geometry, wanted)
        return *found, None


class _Derivatives(torch.autograd.Function):
    """Gradients of a convolution by its inputs and its weight, given that of its outputs."""

    @staticmethod
    def forward(
        ctx: Any,
        gradient: Tensor,
        inputs: Tensor,
        weight: Tensor,
        geometry: _Geometry,
        wanted: tuple[bool, bool],
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(gradient, inputs, weight)
        ctx.set_materialize_grads(False)
        ctx.geometry = geometry
        stride, padding, dilation, groups, _ = geometry
        by_inputs, by_weight, _ = torch.ops.aten.convolution_backward(
            gradient, inputs, weight, None, stride, padding, dilation,
            False, (0, 0), groups, (*wanted, False),
        )  # fmt: skip
        return by_inputs, by_weight

    @staticmethod
    def backward(
        ctx: Any, along_inputs: Tensor | None, along_weight: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        gradient, inputs, weight = ctx.saved_tensors
        geometry = ctx.geometry
        by_gradient = by_inputs = by_weight = None
        if along_inputs is not None:
            by_gradient = _Convolution.apply(along_inputs, weight, geometry)
            by_weight = _Derivatives.apply(
                gradient, along_inputs, weight, geometry, (False, True)
            )[1]
        if along_weight is not None:
            more = _Convolution.apply(inputs, along_weight, geometry)
            by_gradient = more if by_gradient is None else by_gradient + more
            by_inputs = _Derivatives.apply(
                gradient, inputs, along_weight, geometry, (True, False)
            )[0]
        return by_gradient, by_inputs, by_weight, None, None


class _Normalisation(torch.autograd.Function):
    """Scale and shift each channel of inputs [N,C,...] by fixed statistics and parameters [C]."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, statistics: _Statistics
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.set_materialize_grads(False)
        ctx.statistics = statistics
        mean, variance, epsilon = statistics
        return functional.batch_norm(inputs, mean, variance, weight, bias, False, 0.0, epsilon)

    @staticmethod
    def backward(
        ctx: Any, *gradients: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        if gradients[0] is None:
            return None, None, None, None
        inputs, weight = ctx.saved_tensors
        learns = any(ctx.needs_input_grad[1:3]) and not _PIXELS_ONLY.get()
        found = _NormalisationDerivatives.apply(
            gradients[0], inputs, weight, ctx.statistics, learns
        )
        return *found, None


class _NormalisationDerivatives(torch.autograd.Function):
    """Gradients of `_Normalisation` by inputs, weight and bias, given that of its outputs g.

    With s = 1/√(variance + ε) they are g·w·s, Σ g·(x - mean)·s and Σ g. The first is linear in g
    and in w: its own gradients, along a direction d, are d·w·s and Σ d·g·s, the same kernel with
    g in the place of the inputs and no mean.
    """

    @staticmethod
    def forward(
        ctx: Any,
        gradient: Tensor,
        inputs: Tensor,
        weight: Tensor,
        statistics: _Statistics,
        learns: bool,  # noqa: FBT001  # autograd passes by position
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        ctx.save_for_backward(gradient, inputs, weight)
        ctx.set_materialize_grads(False)
        ctx.statistics = statistics
        mean, variance, epsilon = statistics
        found: tuple[Tensor, Tensor | None, Tensor | None] = (
            torch.ops.aten.native_batch_norm_backward(
                gradient, inputs, weight, mean, variance, None, None,
                False, epsilon, (True, learns, learns),
            )
        )  # fmt: skip
        return found

    @staticmethod
    def backward(
        ctx: Any,
        along_inputs: Tensor | None,
        along_weight: Tensor | None,
        along_bias: Tensor | None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        gradient, inputs, weight = ctx.saved_tensors
        mean, variance, epsilon = ctx.statistics
        over = (-1,) + (1,) * (gradient.dim() - 2)
        by_gradient = by_inputs = by_weight = None
        if along_inputs is not None:
            centred = _Statistics(torch.zeros_like(mean), variance, epsilon)
            by_gradient, by_weight, _ = _NormalisationDerivatives.apply(
                along_inputs, gradient, weight, centred, True
            )
        if along_weight is not None:
            slope = (along_weight * (variance + epsilon).rsqrt()).view(over)
            more = slope * (inputs - mean.view(over))
            by_gradient = more if by_gradient is None else by_gradient + more
            by_inputs = slope * gradient
        if along_bias is not None:
            more = along_bias.view(over).expand_as(gradient)
            by_gradient = more if by_gradient is None else by_gradient + more
        return by_gradient, by_inputs, by_weight, None, None


def _comes_from(values: Tensor, leaf: Tensor) -> bool:
    """Whether `leaf` is all that the gradient of `values` leads to."""
    ways = [values.grad_fn]
    while ways:
        way = ways.pop()
        if way is None:
            continue
        if getattr(way, "variable", leaf) is not leaf:
            return False
        ways += [each for each, _ in way.next_functions]
    return True


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
