"""A classifier: normalisation, network and head as one module that explainers can look into."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from models import backbones, contract, specs
from models.errors import ArchitectureError
from models.types import ClassifierSpec, Preprocessing

NAMES: tuple[str, ...] = (
    backbones.SMALL_CNN,
    backbones.EFFICIENTNET_LITE0,
    *backbones.torchvision_names(),
)

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5)
_LITE_MEAN = (127 / 255, 127 / 255, 127 / 255)
_LITE_STD = (128 / 255, 128 / 255, 128 / 255)
_HIDDEN_UNITS = 256
_HIDDEN_DROPOUT = 0.5
_MAP_AXES = 4
_TOKEN_AXES = 3


class Forward(NamedTuple):
    """What one forward pass leaves for an explainer; all in one autograd graph.

    Attributes:
        logits: One per class, [N,K].
        activation: The target layer's output as it is: [N,C,h,w], tokens [N,T,C], or [N,h,w,C].
        embedding: Input of the last linear layer, [N,D].
    """

    logits: Tensor
    activation: Tensor
    embedding: Tensor


class Classifier(nn.Module):
    """Maps images [N,3,H,W] in [0,1] to logits [N,K]; normalisation is inside.

    One instance must not be traced by two threads at once.

    Attributes:
        spec: What it was built from.
        network: Maps normalised images to logits; no activation module works in place.

    Raises:
        ArchitectureError: If the network lacks the target layer, or does not end in a linear
            layer with one output per class.
    """

    spec: ClassifierSpec
    mean: Tensor
    std: Tensor

    def __init__(self, spec: ClassifierSpec, network: nn.Module) -> None:
        super().__init__()
        self.spec = spec
        self.network = network
        # Not persistent: the spec holds them, and a second copy could disagree.
        self.register_buffer("mean", _per_channel(spec.preprocessing.mean), persistent=False)
        self.register_buffer("std", _per_channel(spec.preprocessing.std), persistent=False)
        self._last_linear = backbones.last_linear(network)
        outputs = backbones.linear(network, self._last_linear).out_features
        if outputs != len(spec.classes):
            raise ArchitectureError(
                f"the last linear layer {self._last_linear!r} of {spec.architecture} has "
                f"{outputs} outputs, expected one for each of {len(spec.classes)} classes"
            )
        if not spec.target_layer or spec.target_layer not in dict(network.named_modules()):
            raise ArchitectureError(
                f"{spec.architecture} has no layer {spec.target_layer!r} to read as target layer"
            )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [N,K] of images [N,3,H,W] in [0,1]."""
        logits: Tensor = self.network(self.normalise(images))
        return logits

    def normalise(self, images: Tensor) -> Tensor:
        """Return images [N,3,H,W] in [0,1] as the network takes them."""
        return (images - self.mean) / self.std

    def trace(self, images: Tensor) -> Forward:
        """Run one forward pass and keep what an explainer needs of it.

        Attention is computed step by step here, because the fused kernels have no second
        derivative. A target layer that runs several times is read the last time.

        Args:
            images: [N,3,H,W] in [0,1].

        Raises:
            ArchitectureError: If the pass never ran the target layer or the last linear layer.
        """
        seen: dict[str, Tensor] = {}

        def keep_activation(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            if torch.is_grad_enabled() and not output.requires_grad:
                output.requires_grad_()  # a frozen network has no graph below this point
            seen["activation"] = output

        def keep_embedding(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen["embedding"] = inputs[0]

        target = self.network.get_submodule(self.spec.target_layer)
        last = self.network.get_submodule(self._last_linear)
        handles = (
            target.register_forward_hook(keep_activation),
            last.register_forward_pre_hook(keep_embedding),
        )
        try:
            with sdpa_kernel(SDPBackend.MATH):
                logits = self(images)
        finally:
            for handle in handles:
                handle.remove()
        missing = {"activation", "embedding"} - seen.keys()
        if missing:
            raise ArchitectureError(
                f"{self.spec.architecture} answered without running its target layer "
                f"{self.spec.target_layer!r} and last layer {self._last_linear!r}: "
                f"no {' and no '.join(sorted(missing))}"
            )
        return Forward(logits, seen["activation"], seen["embedding"])

    def grid(self, values: Tensor) -> Tensor:
        """Lay a tensor of the activation's shape out as maps [N,C,h,w].

        Maps stay as they are. Of tokens [N,T,C] the class token is dropped where T - 1 is a
        square, and the rest becomes a square grid, row by row.

        Raises:
            ArchitectureError: If the values are neither maps nor a square number of tokens.
        """
        if values.dim() == _MAP_AXES:
            if backbones.channels_last(self.spec.architecture):
                return values.permute(0, 3, 1, 2)
            return values
        if values.dim() == _TOKEN_AXES:
            tokens = values.shape[1]
            side = math.isqrt(tokens)
            if side * side in {tokens, tokens - 1}:
                patches = values[:, tokens - side * side :]
                return patches.transpose(1, 2).reshape(-1, values.shape[2], side, side)
        raise ArchitectureError(
            f"the target layer {self.spec.target_layer!r} gives {list(values.shape)}, expected "
            "maps [N,C,h,w] or a square number of tokens [N,T,C]"
        )


def default_spec(
    architecture: str,
    classes: Sequence[str],
    *,
    head: Literal["linear", "hidden256"] = "linear",
    height: int | None = None,
    width: int | None = None,
) -> ClassifierSpec:
    """Return the spec of an architecture with its usual input, normalisation and target layer.

    Args:
        architecture: One of `NAMES`, or your own "module:factory", called as
            `factory(num_classes=K)`.
        classes: Class labels in the order of the logits; at least two, all different.
        head: "linear", or "hidden256" for the 256-unit ReLU head with dropout.
        height: Rows of the input; the architecture's own size when None.
        width: Columns of the input; as `height` when None.

    Raises:
        ArchitectureError: If the architecture or its input size is not possible, or the classes
            are fewer than two or repeated.
    """
    if architecture not in NAMES and ":" not in architecture:
        raise ArchitectureError(
            f"unknown architecture {architecture!r}; give one of {', '.join(NAMES)}, "
            "or your own 'module:factory'"
        )
    minimum = 2
    if len(classes) < minimum or len(set(classes)) != len(classes):
        raise ArchitectureError(f"expected at least two different classes, got {list(classes)}")
    usual = backbones.default_size(architecture)
    rows = height or width or usual[0]
    columns = width or height or usual[1]
    mean, std = _normalisation(architecture)
    return ClassifierSpec(
        architecture=architecture,
        classes=tuple(classes),
        preprocessing=Preprocessing(height=rows, width=columns, mean=mean, std=std),
        target_layer=backbones.target_layer(architecture, height=rows, width=columns),
        head=head,
    )


def build(
    spec: ClassifierSpec, *, pretrained_state: Mapping[str, Tensor] | None = None
) -> Classifier:
    """Build a classifier in train mode, with fresh weights or published ones.

    Args:
        spec: What to build.
        pretrained_state: Weights of the bare network, named as its origin names them, or of
            another classifier (`network.` before each name). The last layer is taken when it
            fits and stays fresh when it does not; all else must fit exactly.

    Raises:
        ArchitectureError: If the spec cannot be built, or the weights do not belong to it.

    References:
        The "hidden256" head: Hagos, Curran, Mac Namee (2023), arXiv:2307.06026, section 4.
    """
    size = spec.preprocessing
    network = backbones.create(
        spec.architecture, len(spec.classes), height=size.height, width=size.width
    )
    last = backbones.last_linear(network)
    if spec.head == "hidden256":
        features = backbones.linear(network, last).in_features
        head = nn.Sequential(
            nn.Linear(features, _HIDDEN_UNITS),
            nn.ReLU(),
            nn.Dropout(_HIDDEN_DROPOUT),
            nn.Linear(_HIDDEN_UNITS, len(spec.classes)),
        )
        network.set_submodule(last, head)
    if pretrained_state is not None:
        _adopt(network, pretrained_state, head=last, architecture=spec.architecture)
    return Classifier(spec, network)


def save_weights(classifier: Classifier, path: Path) -> None:
    """Write a classifier's weights to a safetensors file, which appears whole or not at all.

    The classifier's spec goes into the file's metadata. Equal weights are equal bytes.
    """
    # Cloned, because safetensors refuses tensors that share memory, as tied weights do.
    state = {name: value.clone().contiguous() for name, value in classifier.state_dict().items()}
    # One entry only: safetensors writes several in a random order.
    metadata = {contract.SPEC_KEY: specs.to_json(classifier.spec)}
    unfinished = path.with_name(path.name + ".part")
    try:
        save_file(state, unfinished, metadata=metadata)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def load_weights(classifier: Classifier, path: Path) -> None:
    """Read weights that `save_weights` wrote into a classifier of the same spec.

    Raises:
        ArchitectureError: If the file is not safetensors, or holds other tensors than the
            classifier; the classifier then keeps its weights.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArchitectureError(f"cannot read weights from {path}: {error}") from error
    _check_fit(classifier.state_dict(), state, classifier.spec.architecture)
    classifier.load_state_dict(state)


def _adopt(
    network: nn.Module, published: Mapping[str, Tensor], *, head: str, architecture: str
) -> None:
    own = network.state_dict()
    state = {name.removeprefix("network."): value for name, value in published.items()}
    for name in {*own, *state}:
        belongs_to_head = name.startswith(f"{head}.")
        same = name in own and name in state and own[name].shape == state[name].shape
        if belongs_to_head and not same:
            state.pop(name, None)
            if name in own:
                state[name] = own[name]
        elif name.endswith("num_batches_tracked") and name in own:
            state.setdefault(name, own[name])  # older files do not have this counter
    _check_fit(own, state, architecture)
    network.load_state_dict(state)


def _check_fit(own: Mapping[str, Tensor], given: Mapping[str, Tensor], architecture: str) -> None:
    problems = [f"{name} is missing" for name in own if name not in given]
    problems += [f"{name} is unknown" for name in given if name not in own]
    problems += [
        f"{name} has shape {list(given[name].shape)}, expected {list(own[name].shape)}"
        for name in own
        if name in given and own[name].shape != given[name].shape
    ]
    if problems:
        shown = 3
        more = f", and {len(problems) - shown} more" if len(problems) > shown else ""
        raise ArchitectureError(
            f"the weights do not belong to {architecture}: {'; '.join(problems[:shown])}{more}"
        )


def _normalisation(
    architecture: str,
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    if architecture == backbones.SMALL_CNN:
        return _HALF, _HALF
    if architecture == backbones.EFFICIENTNET_LITE0:
        return _LITE_MEAN, _LITE_STD
    return _IMAGENET_MEAN, _IMAGENET_STD


def _per_channel(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)
