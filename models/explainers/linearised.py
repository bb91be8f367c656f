"""A network as the affine map that it is around one batch of images.

`record` runs the network as it is and notes, for each call that is not affine, the linear map
that stands for it; `replay` runs the network again with those maps. Calls are matched by their
order, so that shared modules and functional activations are covered, and nothing of the network
is changed.
"""

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode, resolve_name

from models.errors import ExplainerError

Function = Callable[..., Any]
Map = Callable[[Tensor], Tensor]

_RELUS: frozenset[Function] = frozenset(
    {
        functional.relu,
        functional.relu_,
        functional.relu6,
        functional.hardtanh,
        torch.relu,
        Tensor.relu,
        Tensor.relu_,
    }
)
_CAPPED: frozenset[Function] = frozenset({functional.relu6, functional.hardtanh})
_DROPOUTS: frozenset[Function] = frozenset({functional.dropout, functional.dropout2d})
_MAX_POOLS: frozenset[Function] = frozenset({functional.max_pool2d, torch.max_pool2d})
# Affine in their input: an ordinary backward pass is the ε rule with ε = 0.
_AFFINE: frozenset[Function] = frozenset(
    {
        functional.conv2d,
        functional.linear,
        functional.avg_pool2d,
        functional.adaptive_avg_pool2d,
        functional.pad,
        torch.conv2d,
        torch.add,
        torch.sub,
        torch.mean,
        torch.sum,
        torch.cat,
        torch.chunk,
        torch.split,
        torch.flatten,
        torch.reshape,
        torch.transpose,
        torch.permute,
        torch.squeeze,
        torch.unsqueeze,
        Tensor.add,
        Tensor.add_,
        Tensor.__add__,
        Tensor.__iadd__,
        Tensor.__radd__,
        Tensor.sub,
        Tensor.mean,
        Tensor.sum,
        Tensor.chunk,
        Tensor.split,
        Tensor.flatten,
        Tensor.reshape,
        Tensor.view,
        Tensor.transpose,
        Tensor.permute,
        Tensor.squeeze,
        Tensor.unsqueeze,
        Tensor.contiguous,
        Tensor.clone,
        Tensor.__getitem__,
    }
)
# They read about a tensor, never its values, or only check them.
_DESCRIBING: frozenset[Function] = frozenset(
    {
        torch._assert,  # noqa: SLF001  # torchvision calls it in transformers
        Tensor.dim,
        Tensor.size,
        Tensor.__len__,
        Tensor.is_floating_point,
        Tensor.shape.__get__,  # type: ignore[attr-defined]
        Tensor.ndim.__get__,  # type: ignore[attr-defined]
        Tensor.dtype.__get__,  # type: ignore[attr-defined]
        Tensor.device.__get__,
        Tensor.is_cuda.__get__,  # type: ignore[attr-defined]
    }
)


class Recording(NamedTuple):
    """One ordinary forward pass, and what stood for its non-affine calls.

    Attributes:
        outputs: What the network answered.
        maps: One linear map per non-affine call, in the order of the calls.
    """

    outputs: Tensor
    maps: tuple[Map, ...]


def record(network: nn.Module, inputs: Tensor, epsilon: float | Tensor) -> Recording:
    """Run a network and note the linear maps that stand for its non-affine calls.

    A ReLU becomes the factor a / (z⁺ + ε) with its output a and the positive part of its input z;
    max-pooling picks the positions that it picked here; dropout keeps its mask.

    Args:
        network: Maps inputs [N,...] to outputs [N,K].
        inputs: The batch to run it on.
        epsilon: Above 0; one number, or one for each of the N inputs.

    Raises:
        ExplainerError: If the network calls something that is neither affine nor listed above;
            the message names the call and the module that made it.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.training:
            # Checked before the pass, which would move the running statistics.
            raise ExplainerError(
                f"LRP needs batch normalisation in eval mode, but {name!r} is in train mode"
            )
    recorder = _Recorder(epsilon)
    try:
        with recorder:
            outputs = network(inputs)
    except _UncoveredError as error:
        raise ExplainerError(
            f"LRP has no rule for {error} in {_blame(error, network)}; it covers networks of "
            "convolutions, linear layers, ReLU, ReLU6, pooling, batch normalisation in eval mode, "
            "addition and concatenation"
        ) from error
    return Recording(outputs, tuple(recorder.maps))


def replay(network: nn.Module, inputs: Tensor, maps: Sequence[Map]) -> Tensor:
    """Run a network with recorded maps in the place of its non-affine calls.

    The result is affine in `inputs` and agrees with the recorded pass in structure, not in value,
    because of ε.
    """
    with _Replayer(maps):
        outputs: Tensor = network(inputs)
    return outputs


class _UncoveredError(Exception):
    """A call that is neither affine nor has a linear stand-in; says which."""


class _Recorder(TorchFunctionMode):
    """Notes a linear map for each non-affine call; refuses calls it cannot judge."""

    def __init__(self, epsilon: float | Tensor) -> None:
        super().__init__()
        self.maps: list[Map] = []
        self._epsilon = epsilon

    def __torch_function__(
        self,
        function: Function,
        _types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  # whatever the intercepted function returns
        options = dict(kwargs or {})
        if function in _RELUS:
            return self._relu(function, args, options)
        if function in _DROPOUTS:
            return self._dropout(function, args, options)
        if function in _MAX_POOLS:
            outputs, positions = functional.max_pool2d(*args, **options | {"return_indices": True})
            self.maps.append(lambda values: _pick(values, positions))
            return outputs
        if not (
            function in _AFFINE
            or function in _DESCRIBING
            or (function is functional.batch_norm and options.get("training") is False)
        ):
            raise _UncoveredError(resolve_name(function) or function.__name__)
        return function(*args, **options)

    def _relu(self, function: Function, args: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        if options.get("min_val", 0) != 0:
            raise _UncoveredError(f"hardtanh from {options['min_val']}")
        in_place = _in_place(function, options)
        capped = function in _CAPPED
        before = args[0].clone() if in_place and capped else args[0]
        outputs: Tensor = function(*args, **options)
        # Of a plain ReLU the output is the positive part itself: no second pass over memory.
        positive = before.relu() if capped else outputs
        factor: Tensor = outputs / (positive + self._stabiliser(outputs))
        self.maps.append(lambda values: _scale(values, factor, in_place=in_place))
        return outputs

    def _dropout(
        self, function: Function, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Tensor:
        inputs: Tensor = args[0]
        if not options["training"]:
            self.maps.append(lambda values: values)
            return inputs
        if options["inplace"]:
            raise _UncoveredError("dropout in place")
        mask: Tensor = function(torch.ones_like(inputs), *args[1:], **options)
        self.maps.append(lambda values: values * mask)
        return inputs * mask

    def _stabiliser(self, like: Tensor) -> float | Tensor:
        if isinstance(self._epsilon, Tensor):
            return self._epsilon.view(-1, *(1,) * (like.dim() - 1))
        return self._epsilon


class _Replayer(TorchFunctionMode):
    """Puts recorded maps in the place of non-affine calls, in their order."""

    def __init__(self, maps: Sequence[Map]) -> None:
        super().__init__()
        self._maps = iter(maps)

    def __torch_function__(
        self,
        function: Function,
        _types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  # whatever the intercepted function returns
        if function in _RELUS or function in _DROPOUTS or function in _MAX_POOLS:
            return next(self._maps)(args[0])
        return function(*args, **(kwargs or {}))


def _scale(values: Tensor, factor: Tensor, *, in_place: bool) -> Tensor:
    return values.mul_(factor) if in_place else values * factor


def _pick(values: Tensor, positions: Tensor) -> Tensor:
    """Take, of maps [N,C,H,W], the flat positions [N,C,h,w] that a max-pooling has chosen."""
    return values.flatten(2).gather(2, positions.flatten(2)).view_as(positions)


def _in_place(function: Function, options: Mapping[str, Any]) -> bool:
    return bool(options.get("inplace")) or function in {functional.relu_, Tensor.relu_}


def _blame(error: Exception, network: nn.Module) -> str:
    """Name the innermost module of `network` that was running when `error` was raised."""
    names = {module: name for name, module in network.named_modules()}
    running = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    module = next(
        each for each in reversed(running) if isinstance(each, nn.Module) and each in names
    )
    return f"module {names[module]!r} ({type(module).__name__})"
