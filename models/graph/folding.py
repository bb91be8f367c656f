"""Fold batch normalisation into the convolution before it, wherever that changes nothing.

With running statistics a batch normalisation is an affine map per channel, so the convolution
before it can absorb it. Half of the operators of a residual network disappear, forward and
backward. Pairs are found by watching one pass, so any network is covered, and the result is
compared with the original before it is used.
"""

import copy
from collections import Counter
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)

_TOLERANCE = 1e-9  # relative, in float64: rounding only


def frozen(network: Network) -> Network:
    """Return a copy in eval mode whose parameters want no gradient and that works out of place."""
    twin = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    for module in twin.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # every module of that kind has it
    return twin


def fold_batch_norms(network: Network, images: Tensor, *, keep: str = "") -> Network:
    """Return a frozen copy of `network` with batch normalisations folded where that is exact.

    Args:
        network: Any network that maps `images` to one tensor.
        images: One batch the network accepts, used to see which module feeds which.
        keep: Dotted name of a module whose own output somebody reads; it is not touched.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return frozen(network)
    reference = frozen(network).double()
    pairs = _pairs(reference, images.double(), keep)
    folded = frozen(network).double()
    for convolution, norm in pairs:
        fused = fuse_conv_bn_eval(
            _as(folded.get_submodule(convolution), nn.Conv2d),
            _as(folded.get_submodule(norm), nn.BatchNorm2d),
        )
        folded.set_submodule(convolution, fused)
        folded.set_submodule(norm, nn.Identity())
    with torch.no_grad():
        expected, actual = reference(images.double()), folded(images.double())
    if (expected - actual).abs().max() > _TOLERANCE * expected.abs().max():
        return frozen(network)  # somebody else reads a convolution's own output
    return folded.to(images.dtype)


def _pairs(network: nn.Module, images: Tensor, keep: str) -> list[tuple[str, str]]:
    """Return (convolution, batch normalisation) names where one feeds the other, each run once."""
    made: dict[int, str] = {}
    alive: list[Tensor] = []  # so that no identity is used twice
    pairs: list[tuple[str, str]] = []
    runs: Counter[str] = Counter()
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        def after(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            runs[name] += 1
            alive.append(output)
            if isinstance(module, nn.Conv2d):
                made[id(output)] = name
            elif id(inputs[0]) in made:
                pairs.append((made[id(inputs[0])], name))

        handles.append(module.register_forward_hook(after))

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            watch(name, module)
    try:
        with torch.no_grad():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return [
        (convolution, norm)
        for convolution, norm in pairs
        if runs[convolution] == runs[norm] == 1
        and convolution != keep
        and not convolution.endswith(f".{keep}")
    ]


_Kind = TypeVar("_Kind", bound=nn.Module)


def _as(module: nn.Module, kind: type[_Kind]) -> _Kind:
    if not isinstance(module, kind):
        raise TypeError(f"expected {kind.__name__}, got {type(module).__name__}")
    return module
