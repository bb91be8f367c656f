"""Pickle checkpoints into safetensors, once and explicitly; nothing else here reads a pickle."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251  # only to name what torch raises

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.errors import ArchitectureError

# Where training scripts put the weights in a checkpoint that holds more than them.
_USUAL_PLACES = ("state_dict", "model_state_dict", "model", "network", "net")
# What wrappers put before each name.
_USUAL_PREFIXES = ("module.", "_orig_mod.")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the weights of a PyTorch checkpoint without running any code that it carries.

    Args:
        path: A file that `torch.save` wrote: a state dictionary, or a dictionary that holds one
            under a usual name such as "state_dict". Prefixes of DataParallel and of
            `torch.compile` are taken off.

    Returns:
        Tensors on the CPU by name, as `architectures.build` takes them.

    Raises:
        ArchitectureError: If the file cannot be read so, holds other objects than tensors and
            plain values, or holds no weights.
    """
    try:
        # Tensors and plain containers only: weights_only refuses every other pickled object.
        content = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise ArchitectureError(
            f"cannot read {path} as a checkpoint of tensors only: {error}"
        ) from error
    weights = _weights(content)
    if not weights:
        raise ArchitectureError(
            f"{path} holds no weights; expected tensors by name, or such a dictionary under one "
            f"of {', '.join(_USUAL_PLACES)}"
        )
    return weights


def convert_checkpoint(source: Path, destination: Path) -> tuple[str, ...]:
    """Write the weights of a PyTorch checkpoint as safetensors.

    The file appears whole or not at all.

    Args:
        source: The checkpoint, as for `read_checkpoint`.
        destination: The safetensors file to write; an existing one is replaced.

    Returns:
        The names of the tensors.

    Raises:
        ArchitectureError: As `read_checkpoint`.
    """
    weights = read_checkpoint(source)
    unfinished = destination.with_name(destination.name + ".part")
    try:
        # Cloned, because safetensors refuses tensors that share memory, as tied weights do.
        state = {name: value.clone().contiguous() for name, value in weights.items()}
        save_file(state, unfinished)
        unfinished.replace(destination)
    finally:
        unfinished.unlink(missing_ok=True)
    return tuple(weights)


def _weights(content: object) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    for place in _USUAL_PLACES:
        if isinstance(content.get(place), Mapping):
            return _weights(content[place])
    weights = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    for prefix in _USUAL_PREFIXES:
        if weights and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights
