"""Train and eval mode for the length of a block; a guest leaves a network as it was found."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Put every module of `network` in eval mode, then back as each one was."""
    with _kept(network):
        network.eval()
        yield


@contextmanager
def training_mode(network: nn.Module, *, freeze_batchnorm: bool) -> Iterator[None]:
    """Put every module in train mode, then back; frozen batch normalisation stays in eval mode."""
    with _kept(network):
        network.train()
        if freeze_batchnorm:
            for module in network.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        yield


@contextmanager
def _kept(network: nn.Module) -> Iterator[None]:
    before = {module: module.training for module in network.modules()}
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
