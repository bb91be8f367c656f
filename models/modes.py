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


def unmeasured(network: nn.Module) -> list[str]:
    """Return the names of batch normalisations that have never seen an image.

    Their statistics are mean 0 and variance 1, as they were made; loaded ones are others, also
    where the file did not say after how many batches.
    """
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm)
        and module.running_mean is not None
        and module.running_var is not None
        and not (module.num_batches_tracked or 0)
        and bool((module.running_mean == 0).all() and (module.running_var == 1).all())
    ]


@contextmanager
def _kept(network: nn.Module) -> Iterator[None]:
    before = {module: module.training for module in network.modules()}
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
