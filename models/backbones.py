"""The bare networks that a classifier is built around, each with the layer that Grad-CAM reads.

Names are torchvision's own, `small_cnn`, `efficientnet_lite0`, and the user's `module:factory`.
State dictionaries keep the names of their origin, so that published weights load as they are.
"""

import importlib
from collections import OrderedDict
from functools import cache

import torch
import torchvision
from torch import nn

from models.errors import ArchitectureError

SMALL_CNN = "small_cnn"
EFFICIENTNET_LITE0 = "efficientnet_lite0"


# Where each torchvision family ends its feature maps; the longest matching beginning counts, and
# a negative number counts the children of a layer from their end.
_TARGET_LAYERS = {
    "alexnet": "features.-2",
    "convnext": "features",
    "densenet": "relu",
    "efficientnet": "features",
    "googlenet": "inception5b",
    "inception": "Mixed_7c",
    "maxvit": "blocks.-1",
    "mnasnet": "layers",
    "mobilenet": "features",
    "regnet": "trunk_output",
    "resnet": "layer4",
    "resnext": "layer4",
    "shufflenet": "conv5",
    "swin": "norm",
    "vgg": "features.-2",
    "vit": "encoder.layers.-1.ln_1",  # where patch tokens still reach the class token
    "wide_resnet": "layer4",
}


@cache
def torchvision_names() -> tuple[str, ...]:
    """Return torchvision's classifiers that end in a linear layer (SqueezeNet does not)."""
    names = torchvision.models.list_models(module=torchvision.models)
    return tuple(name for name in names if not name.startswith("squeezenet"))


def create(
    architecture: str, classes: int, *, height: int, width: int, channels: int = 3
) -> nn.Module:
    """Build a bare network that maps normalised images [N,C,height,width] to logits [N,classes].

    Args:
        architecture: A torchvision name, "small_cnn", "efficientnet_lite0" or "module:factory".
        classes: Number of classes.
        height: Rows of the input.
        width: Columns of the input.
        channels: Of the images; the first convolution of a named network is made to take them.

    Returns:
        The network with fresh weights from torch's global random state; no activation of its
        modules works in place.

    Raises:
        ArchitectureError: If the name is unknown, its package is missing, or it cannot take this
            input size or so many channels.
    """
    if ":" in architecture:
        network = _from_factory(architecture, classes)
    elif architecture == SMALL_CNN:
        network = small_cnn(classes)
    elif architecture == EFFICIENTNET_LITE0:
        network = _efficientnet_lite0(classes, height, width)
    elif architecture in torchvision_names():
        network = _from_torchvision(architecture, classes, height, width)
    else:
        raise ArchitectureError(
            f"unknown architecture {architecture!r}; give a torchvision classifier such as "
            f"'resnet18', {SMALL_CNN!r}, {EFFICIENTNET_LITE0!r}, or your own 'module:factory'"
        )
    for module in network.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # a flag of activations and dropout
    _take_channels(network, architecture, channels)
    return network


def input_channels(network: nn.Module) -> int | None:
    """Return how many channels the first convolution takes; None where there is none."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    return None


def small_cnn(classes: int) -> nn.Sequential:
    """Build a plain CNN for images of 28 to 64 pixels: 4 convolutions, 9.4 M products at 28.

    One flat sequence of convolution, ReLU, max-pooling, global average pooling and one linear
    layer, without batch normalisation, so that every method that walks layer by layer covers it.

    Args:
        classes: Number of classes.

    Returns:
        A network for [N,3,H,W] with H, W >= 4; its feature map is [N,64,H//4,W//4].
    """
    network = nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(3, 16, 3, padding=1),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(16, 32, 3, padding=1),
            relu2=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv3=nn.Conv2d(32, 64, 3, padding=1),
            relu3=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            conv4=nn.Conv2d(64, 64, 3, padding=1),
            relu4=nn.ReLU(),
            pool3=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(64, classes),
        )
    )
    for module in network:
        if isinstance(module, nn.Conv2d):
            # torch's own default halves the signal per layer, and nothing here would restore it.
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # it was asked for
    return network


def target_layer(architecture: str, *, height: int, width: int) -> str:
    """Return the dotted name of the layer that Grad-CAM should read.

    Not of the user's own network: `models.targets` finds it there.

    Raises:
        ArchitectureError: If the network cannot be built.
    """
    if architecture == SMALL_CNN:
        return "relu4"
    if architecture == EFFICIENTNET_LITE0:
        return "_swish"
    families = [name for name in _TARGET_LAYERS if architecture.startswith(name)]
    pattern = _TARGET_LAYERS[max(families, key=len)]
    if "-" not in pattern:
        return pattern
    with torch.device("meta"):
        network = create(architecture, 2, height=height, width=width)
    return _resolve(network, pattern)


def is_own(architecture: str) -> bool:
    """Tell whether nothing is known of an architecture by its name: a factory of the user's."""
    return ":" in architecture


def channels_last(architecture: str) -> bool:
    """Tell whether the target layer's output is [N,h,w,C] rather than [N,C,h,w]."""
    return architecture.startswith("swin")


def last_linear(network: nn.Module) -> str:
    """Return the dotted name of the linear layer that is registered last.

    Raises:
        ArchitectureError: If there is none.
    """
    names: list[str] = [
        name for name, module in network.named_modules() if isinstance(module, nn.Linear)
    ]
    if not names:
        raise ArchitectureError(
            f"{type(network).__name__} has no nn.Linear; a classifier must end in one"
        )
    return names[-1]


def linear(network: nn.Module, name: str) -> nn.Linear:
    """Return the linear layer of that dotted name.

    Raises:
        ArchitectureError: If the module of that name is something else.
    """
    module = network.get_submodule(name)
    if not isinstance(module, nn.Linear):
        raise ArchitectureError(f"{name!r} is {type(module).__name__}, expected nn.Linear")
    return module


def _from_torchvision(architecture: str, classes: int, height: int, width: int) -> nn.Module:
    options: dict[str, object] = {}
    if architecture.startswith("vit"):
        if height != width:
            raise ArchitectureError(f"{architecture} takes square images, got {height} x {width}")
        options["image_size"] = height
    elif architecture.startswith("maxvit"):
        options["input_size"] = (height, width)
    elif architecture.startswith(("googlenet", "inception")):
        options.update(aux_logits=False, init_weights=False)
    try:
        network = torchvision.models.get_model(
            architecture, weights=None, num_classes=classes, **options
        )
    except (AssertionError, ValueError) as error:
        raise ArchitectureError(
            f"{architecture} cannot take {height} x {width} images: {error}"
        ) from error
    if architecture.startswith("densenet"):
        network = _plain_densenet(network)
    return network  # type: ignore[no-any-return]  # torchvision has no types


def _take_channels(network: nn.Module, architecture: str, channels: int) -> None:
    """Let the first convolution take so many channels; the user's own network must do so."""
    found = input_channels(network)
    if found in {None, channels}:
        return
    if ":" in architecture:
        raise ArchitectureError(
            f"{architecture} takes images of {found} channels, not of {channels}: "
            "a grey network is exported with --channels grey, a colour network with rgb or bgr"
        )
    name = next(n for n, each in network.named_modules() if isinstance(each, nn.Conv2d))
    old = network.get_submodule(name)
    if not isinstance(old, nn.Conv2d):
        raise ArchitectureError(f"{architecture} has no convolution {name!r} to read images with")
    taking = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]  # a pair, as torch itself keeps it
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    network.set_submodule(name, taking)


def _plain_densenet(network: nn.Module) -> nn.Sequential:
    """The same network as a sequence: the original overwrites its feature map in place."""
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            features=network.get_submodule("features"),
            relu=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=network.get_submodule("classifier"),
        )
    )


def _efficientnet_lite0(classes: int, height: int, width: int) -> nn.Sequential:
    """The package's network as a sequence, so that each activation is a module of its own.

    Its stochastic depth is left out: it acts in training only, and reads the block's index.
    """
    try:
        from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415  # an optional package
    except ImportError as error:
        raise ArchitectureError(
            f"{EFFICIENTNET_LITE0} needs `pip install efficientnet-lite-pytorch` "
            "(the `imagenet` extra)"
        ) from error
    package = EfficientNet.from_name(
        "efficientnet-lite0", num_classes=classes, image_size=[height, width]
    )
    part = package.get_submodule
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            _conv_stem=part("_conv_stem"),
            _bn0=part("_bn0"),
            relu_stem=nn.ReLU6(),
            _blocks=nn.Sequential(*part("_blocks").children()),
            _conv_head=part("_conv_head"),
            _bn1=part("_bn1"),
            _swish=nn.ReLU6(),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            _dropout=part("_dropout"),
            _fc=part("_fc"),
        )
    )


def _from_factory(architecture: str, classes: int) -> nn.Module:
    module_name, _, factory_name = architecture.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), factory_name)
    except Exception as error:  # likewise
        raise ArchitectureError(
            f"cannot import the factory {architecture!r}: {type(error).__name__}: {error}"
        ) from error
    try:
        network = factory(num_classes=classes)
    except Exception as error:  # whatever the user's own code raises is his to read
        raise ArchitectureError(
            f"{architecture!r} cannot be called as factory(num_classes={classes}): "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(network, nn.Module):
        raise ArchitectureError(
            f"{architecture!r} returned {type(network).__name__}, expected a torch.nn.Module"
        )
    return network


def _resolve(network: nn.Module, pattern: str) -> str:
    """Turn a name of `_TARGET_LAYERS` into the dotted name of a module of `network`."""
    name = ""
    for part in pattern.split("."):
        if part.startswith("-"):
            children = [child for child, _ in network.get_submodule(name).named_children()]
            part = children[int(part)]  # noqa: PLW2901  # the child's name stands for its position
        name = f"{name}.{part}" if name else part
    return name
