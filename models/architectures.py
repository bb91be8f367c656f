"""A classifier: normalisation, network and head as one module that explainers can look into."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from models import backbones, checkpoints, contract, endings, fitting, presets, specs, targets
from models.errors import ArchitectureError
from models.fitting import Fitted
from models.targets import Target
from models.types import Channels, ClassifierSpec, Preprocessing

NAMES: tuple[str, ...] = (
    backbones.SMALL_CNN,
    backbones.EFFICIENTNET_LITE0,
    *backbones.torchvision_names(),
)

# ITU-R BT.601, as Pillow makes grey of colours.
_LUMINANCE = (0.299, 0.587, 0.114)
_MIXTURES = {
    "bgr": ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
    "grey": (_LUMINANCE,),
    "grey_rgb": (_LUMINANCE,) * 3,
}
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
    mixture: Tensor | None

    def __init__(self, spec: ClassifierSpec, network: nn.Module) -> None:
        super().__init__()
        self.spec = spec
        self.network = network
        # Not persistent: the spec holds them, and a second copy could disagree.
        mean, std = _normalisation(spec.preprocessing)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.register_buffer("mixture", _mixture(spec.preprocessing), persistent=False)
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
        """Return RGB images [N,3,H,W] in [0,1] as the network takes them."""
        if self.mixture is not None:
            images = functional.conv2d(images, self.mixture)
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
        if (found := self.spec.grid) is not None:
            if found.layout == "tokens":
                patches = values[:, found.skipped : found.skipped + found.rows * found.columns]
                axes = (-1, values.shape[2], found.rows, found.columns)
                return patches.transpose(1, 2).reshape(axes)
            return values.permute(0, 3, 1, 2) if found.layout == "maps_last" else values
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
    published: bool = False,
    channels: Channels = "rgb",
    target_layer: str | None = None,
) -> ClassifierSpec:
    """Return the spec of an architecture with its usual input, normalisation and target layer.

    Args:
        architecture: One of `NAMES`, or your own "module:factory", called as
            `factory(num_classes=K)`.
        classes: Class labels in the order of the logits; at least two, all different.
        head: "linear", or "hidden256" for the 256-unit ReLU head with dropout.
        height: Rows of the input; the architecture's own size when None.
        width: Columns of the input; as `height` when None.
        published: Fit images as the architecture's published weights want it, which cuts their
            borders away; False resizes the whole image.
        channels: What the network takes.
        target_layer: The layer that Grad-CAM reads; the architecture's usual one when None, of
            your own network the last feature map.

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
    preset = presets.sized(presets.published(architecture), height, width)
    size = preset if published else presets.stretched(preset)
    size = replace(size, channels=channels)
    found = _target(architecture, size, target_layer)
    return ClassifierSpec(
        architecture=architecture,
        classes=tuple(classes),
        preprocessing=size,
        target_layer=found.layer,
        head=head,
        grid=found.grid,
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
    network, last = _bare(spec)
    if pretrained_state is not None:
        own = network.state_dict()
        found = fitting.fit(pretrained_state, own, head=last, what=spec.architecture)
        network.load_state_dict(own | (found.state if found.head_fits else _below(found, last)))
    return Classifier(spec, network)


def build_from(
    spec: ClassifierSpec, path: Path, *, averages: bool = True
) -> tuple[Classifier, Fitted]:
    """Build a classifier of the weights in a file, as somebody's training left it.

    Args:
        spec: What to build.
        path: A file that `checkpoints.read` reads.
        averages: Take averaged weights (EMA, SWA) where the file holds both.

    Returns:
        The classifier in train mode, and what was taken and what was left out. One output of the
        file's last layer becomes two, where the spec has two classes: the probability of the
        second is the sigmoid of that one.

    Raises:
        ArchitectureError: If the file cannot be read, or its weights do not belong to the spec.
    """
    content = checkpoints.read(path)
    network, last = _bare(spec)
    own = network.state_dict()
    found = fitting.fit(content, own, head=last, what=spec.architecture, averages=averages)
    state = endings.two_of_one(found.state, head=last, classes=len(spec.classes))
    endings.check_outputs(state, own, classes=len(spec.classes))
    fitting.check(own, state, spec.architecture)
    network.load_state_dict(state)
    return Classifier(spec, network), found


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
    state = checkpoints.read(path)
    fitting.check(classifier.state_dict(), state, classifier.spec.architecture)
    classifier.load_state_dict(state)


def _target(architecture: str, size: Preprocessing, stated: str | None) -> Target:
    """Return the layer to read; its layout where the architecture's name does not tell it."""
    if stated is None and not backbones.is_own(architecture):
        usual = backbones.target_layer(architecture, height=size.height, width=size.width)
        return Target(usual, None)
    channels = 1 if size.channels == "grey" else 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = backbones.create(
            architecture, 2, height=size.height, width=size.width, channels=channels
        )
        images = torch.randn(2, channels, size.height, size.width)
    try:
        if stated is None:
            return targets.find(network, images)
        return Target(stated, targets.layout(network, stated, images))
    except (ArchitectureError, MemoryError):
        raise
    except Exception as error:  # whatever the user's own network raises is his to read
        raise ArchitectureError(
            f"{architecture} fails on images [N,{channels},{size.height},{size.width}]: "
            f"{type(error).__name__}: {error}"
        ) from error


def _bare(spec: ClassifierSpec) -> tuple[nn.Module, str]:
    """Return a spec's network with fresh weights, and the name of its last layer or head."""
    size = spec.preprocessing
    network = backbones.create(
        spec.architecture,
        len(spec.classes),
        height=size.height,
        width=size.width,
        channels=1 if size.channels == "grey" else 3,
    )
    last = backbones.last_linear(network)
    if spec.outputs == "probabilities":
        endings.take_off(network)
    endings.widen(network, last, len(spec.classes))
    if spec.head == "hidden256":
        features = backbones.linear(network, last).in_features
        head = nn.Sequential(
            nn.Linear(features, _HIDDEN_UNITS),
            nn.ReLU(),
            nn.Dropout(_HIDDEN_DROPOUT),
            nn.Linear(_HIDDEN_UNITS, len(spec.classes)),
        )
        network.set_submodule(last, head)
    return network, last


def _below(found: Fitted, head: str) -> dict[str, Tensor]:
    return {name: each for name, each in found.state.items() if not name.startswith(f"{head}.")}


def _normalisation(size: Preprocessing) -> tuple[Tensor, Tensor]:
    """Return mean and deviation per channel, with what `transform_input` adds to them."""
    mean, std = (torch.tensor(each, dtype=torch.float64) for each in (size.mean, size.std))
    if size.transform_input:
        own_mean, own_std, half = (
            torch.tensor(each, dtype=torch.float64)
            for each in (presets.IMAGENET_MEAN, presets.IMAGENET_STD, presets.HALF)
        )
        # ((x - mean) / std · own_std + own_mean - ½) / ½, as one mean and one deviation.
        mean = mean - std * (own_mean - half) / own_std
        std = std * half / own_std
    channels = 1 if size.channels == "grey" else 3
    return (
        mean[:channels].float().view(1, channels, 1, 1),
        std[:channels].float().view(1, channels, 1, 1),
    )


def _mixture(size: Preprocessing) -> Tensor | None:
    """Return which mixture of red, green and blue each channel is, [C,3,1,1]; None for RGB."""
    rows = _MIXTURES.get(size.channels)
    return None if rows is None else torch.tensor(rows).view(len(rows), 3, 1, 1)
