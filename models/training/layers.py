"""A plain network as the list of its layers, for methods that walk through it one by one."""

from collections.abc import Iterator

from torch import nn

from models.architectures import Classifier
from models.errors import TrainingError


def plain_layers(
    classifier: Classifier, kinds: tuple[type[nn.Module], ...], method: str
) -> list[nn.Module]:
    """Return the layers in order, normalisation excluded.

    Args:
        classifier: Its network must be (nested) `nn.Sequential`.
        kinds: Layers that the method has a rule for.
        method: Named in the refusal.

    Raises:
        TrainingError: Naming the first module that the method has no rule for.
    """
    layers = []
    for name, module in _flat("", classifier.network):
        if not isinstance(module, kinds):
            known = ", ".join(kind.__name__ for kind in kinds)
            raise TrainingError(
                f"{method} cannot run on {classifier.spec.architecture}: no rule for "
                f"{name or 'the network'} ({type(module).__name__}); it covers plain sequences "
                f"of {known}"
            )
        layers.append(module)
    return layers


def _flat(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the leaves of nested sequences with their dotted names."""
    if not isinstance(module, nn.Sequential):
        yield name, module
        return
    for child, inner in module.named_children():
        yield from _flat(f"{name}.{child}".lstrip("."), inner)
