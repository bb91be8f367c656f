"""Files of weights as people have them, read without running any code that they carry.

The one place that reads a pickle: `torch.load` with `weights_only`, which builds tensors and plain
containers and nothing else. Checkpoints of training frameworks hold options and counters of their
own classes beside the tensors; for such an object an inert one stands in, which holds nothing and
does nothing. What asks for a function to be called is refused.
"""

import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251  # only to name what torch raises
from typing import Any, Final, Self
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from models import contract, specs
from models.errors import ArchitectureError
from models.types import ClassifierSpec

# Where training scripts put the weights in a checkpoint that holds more than them.
_USUAL_PLACES = ("state_dict", "model_state_dict", "model", "network", "net")
# What wrappers put before each name: DataParallel, torch.compile.
WRAPPERS: Final = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module"})

_SAVE = "torch.save(model.state_dict(), 'weights.pt')"
_PICKLES = (b"PK", b"\x80")
_HDF5, _HEADER_BYTES = b"\x89HDF", 8
_MAPPING = re.compile(r"dict|config", re.IGNORECASE)
# Called while such an object is unpickled; none of them does more than to make a value.
_HARMLESS = re.compile(r"(pathlib|numpy|datetime|decimal|uuid|collections)\..*")


def read(path: Path) -> Mapping[str, Any]:
    """Read a file of weights: what it holds by name, tensors on the CPU.

    Args:
        path: A safetensors file, or one that `torch.save` wrote (.pt, .pth, .ckpt, .bin). The
            content counts, not the name.

    Returns:
        Tensors by name, or a dictionary in which they lie deeper, as `fitting.fit` searches it.

    Raises:
        ArchitectureError: If the file cannot be read so; the message says what to do.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(_HEADER_BYTES + 1)
    except OSError as error:
        raise ArchitectureError(f"cannot read {path}: {error.strerror}") from error
    if beginning.startswith(_PICKLES):
        return _unpickled(path)
    if beginning[_HEADER_BYTES:] == b"{":
        try:
            return dict(load_file(path))
        except (OSError, SafetensorError) as error:
            raise ArchitectureError(f"cannot read {path} as safetensors: {error}") from error
    kind = "a Keras or HDF5 file" if beginning.startswith(_HDF5) else "no file of weights"
    raise ArchitectureError(
        f"cannot read {path}: it is {kind}; needed is a safetensors file, or what {_SAVE} writes"
    )


def read_spec(path: Path) -> ClassifierSpec | None:
    """Return the spec that Rightly wrote into a safetensors file; None where there is none.

    Raises:
        GraphRejectedError: If there is one that cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get(contract.SPEC_KEY)
    except (OSError, SafetensorError):
        return None
    return None if found is None else specs.from_json(found)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the weights of a PyTorch checkpoint, whatever network they belong to.

    Args:
        path: As for `read`: a state dictionary, or a dictionary that holds one under a usual name
            such as "state_dict". Names of DataParallel and of `torch.compile` are taken off.

    Returns:
        Tensors on the CPU by name, as `architectures.build` takes them.

    Raises:
        ArchitectureError: As `read`, or if there are no weights in it.
    """
    weights = _weights(read(path))
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
        ArchitectureError: As `read_checkpoint`, or if the file cannot be written.
    """
    weights = read_checkpoint(source)
    unfinished = destination.with_name(destination.name + ".part")
    try:
        # Cloned, because safetensors refuses tensors that share memory, as tied weights do.
        state = {name: value.clone().contiguous() for name, value in weights.items()}
        save_file(state, unfinished)
        unfinished.replace(destination)
    except (OSError, SafetensorError) as error:
        raise ArchitectureError(f"cannot write {destination}: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return tuple(weights)


def unwrapped(name: str) -> str:
    """Return a tensor's name without what DataParallel and `torch.compile` put into it."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


class _Uncalled(type):
    """Of a class that can be there but not be called: unpickling calls functions that way."""

    def __call__(cls, *_args: object) -> object:
        raise UnpicklingError("it asks for a function to be called")


class _Inert(metaclass=_Uncalled):
    """Stands for an object whose class is not loaded; holds nothing, does nothing."""

    def __new__(cls, *_args: object) -> Self:
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        """Take the object's content and keep nothing of it."""


def _made(*_args: object) -> _Inert:
    """Stand for a harmless value that unpickling makes by a call."""
    return _Inert.__new__(_Inert)


def _unpickled(path: Path) -> Mapping[str, Any]:
    if is_zipfile(path) and _is_torchscript(path):
        raise ArchitectureError(
            f"cannot read {path}: it is a TorchScript archive, which holds code; load it with "
            f"torch.jit.load where it was made and run {_SAVE}"
        )
    try:
        content = _load_with_stand_ins(path)
    except (OSError, EOFError, BadZipFile) as error:
        raise ArchitectureError(f"cannot read {path}: {error}") from error
    except _UNREADABLE as error:
        raise ArchitectureError(
            f"cannot read {path} as a checkpoint of tensors only ({_reason(error)}); where it was "
            f"made, run {_SAVE}"
        ) from error
    if isinstance(content, _Inert):
        raise ArchitectureError(
            f"cannot read {path} as a checkpoint of tensors only: it is a whole object, which "
            f"only its own code can read; where it was made, run {_SAVE}"
        )
    return content if isinstance(content, Mapping) else {}


# What torch's restricted unpickler raises on a file that is broken or asks for more.
_UNREADABLE = (
    RuntimeError,
    UnpicklingError,
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
)


def _load_with_stand_ins(path: Path) -> object:
    """Load a checkpoint, with an inert object for each one of a class that torch does not trust.

    A class of dictionaries whose name does not say so is found by trying: then any of them may be
    filled.
    """
    names = _unknown_classes(path)
    try:
        return _load(path, [(_stand_in(each), each) for each in names])
    except _UNREADABLE as error:
        if not names:
            raise
        first = error
    try:
        return _load(path, [(_filled(each), each) for each in names])
    except _UNREADABLE:
        raise first from None


def _load(path: Path, stand_ins: list[tuple[Callable[..., Any], str]]) -> object:
    trusted: list[Any] = [_Inert, *stand_ins]
    with safe_globals(trusted), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other pickle protocols: it is read or refused
        return torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251


def _unknown_classes(path: Path) -> list[str]:
    """Return the classes that a checkpoint names and torch does not trust."""
    try:
        return sorted(get_unsafe_globals_in_checkpoint(path))
    except (*_UNREADABLE, OSError, EOFError, BadZipFile):
        return []


def _stand_in(name: str) -> Callable[..., Any]:
    if _HARMLESS.fullmatch(name):
        return _made
    return OrderedDict if _MAPPING.search(name.rpartition(".")[2]) else _Inert


def _filled(name: str) -> Callable[..., Any]:
    return _made if _HARMLESS.fullmatch(name) else OrderedDict


def _is_torchscript(path: Path) -> bool:
    with ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _reason(error: Exception) -> str:
    """Return the sentence in what torch says that names the cause."""
    said = " ".join(str(error).rpartition("WeightsUnpickler error:")[2].split())
    sentence = said.partition(". ")[0].partition(" Please use")[0]
    longest = 120
    return sentence if len(sentence) <= longest else sentence[:longest] + "…"


def _weights(content: object) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    for place in _USUAL_PLACES:
        if isinstance(content.get(place), Mapping):
            return _weights(content[place])
    weights = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    while weights and {name.partition(".")[0] for name in weights} <= WRAPPERS:
        weights = {name.partition(".")[2]: value for name, value in weights.items()}
    return weights
