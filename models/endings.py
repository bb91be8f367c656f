"""What stands behind a network's last layer, and how it becomes one logit for each class.

Explanations speak of logits. A network that its author ends in a softmax has it taken off, which
changes no answer: the softmax of the logits is what it gave. One output for two classes becomes
two, half of it each way, which changes none either.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models import backbones
from models.errors import ArchitectureError

_ENDINGS = (nn.Softmax, nn.LogSoftmax, nn.Sigmoid)


def take_off(network: nn.Module) -> None:
    """Replace the softmax that a network ends in by nothing; of one output, the sigmoid.

    Raises:
        ArchitectureError: If no such module is registered after its last linear layer, or it is
            the sigmoid of several outputs.
    """
    last = backbones.last_linear(network)
    names = [name for name, _ in network.named_modules()]
    behind = names[names.index(last) + 1 :]
    found = [name for name in behind if isinstance(network.get_submodule(name), _ENDINGS)]
    if not found:
        raise ArchitectureError(
            f"{type(network).__name__} has no nn.Softmax or nn.Sigmoid behind its last linear "
            f"layer {last!r} to take off; let your factory return the network without it"
        )
    outputs = backbones.linear(network, last).out_features
    if isinstance(network.get_submodule(found[-1]), nn.Sigmoid) and outputs > 1:
        raise ArchitectureError(
            f"{type(network).__name__} ends in a sigmoid of {outputs} outputs: findings that do "
            "not exclude each other are not served here"
        )
    network.set_submodule(found[-1], nn.Identity())


def widen(network: nn.Module, last: str, classes: int) -> None:
    """Give a last layer of one output two, where there are two classes."""
    layer = backbones.linear(network, last)
    if layer.out_features == 1 and classes == 2:  # noqa: PLR2004 - yes or no
        wide = nn.Linear(layer.in_features, 2, bias=layer.bias is not None)
        network.set_submodule(last, wide)


def two_of_one(state: Mapping[str, Tensor], *, head: str, classes: int) -> dict[str, Tensor]:
    """Return a state whose last layer has two outputs where it had one and there are two classes.

    With z the one logit they are -z/2 and z/2, so that the softmax gives the second class
    sigmoid(z).
    """
    weight = state.get(f"{head}.weight")
    if weight is None or weight.shape[0] != 1 or classes != 2:  # noqa: PLR2004 - yes or no
        return dict(state)
    return {
        name: torch.cat((-each / 2, each / 2)) if name.startswith(f"{head}.") else each
        for name, each in state.items()
    }


def check_outputs(state: Mapping[str, Tensor], own: Mapping[str, Tensor], *, classes: int) -> None:
    """Refuse weights of another number of classes in words that say so.

    Args:
        state: The tensors of a checkpoint, named as the network's.
        own: The network's own.
        classes: How many class names there are.

    Raises:
        ArchitectureError: If the tensors differ in their number of outputs alone.
    """
    for name, each in own.items():
        given = state.get(name)
        if given is None or given.shape == each.shape or each.shape[0] != classes:
            continue
        if given.shape[1:] == each.shape[1:]:
            raise ArchitectureError(
                f"the last layer of the weights ({name}) has {given.shape[0]} outputs, "
                f"but {classes} classes are named"
            )
