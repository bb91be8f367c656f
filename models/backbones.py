"""The bare networks that a classifier is built around, each with the layer that Grad-CAM reads.

Names are torchvision's own, `small_cnn`, `efficientnet_lite0`, and the user's `module:factory`.
State dictionaries keep the names of their origin, so that published weights load as they are.
"""

import importlib
from collections import OrderedDict
from collections.abc import Callable
from functools import cache

import torch
import torchvision
from torch import Tensor, nn

from models.errors import ArchitectureError

SMALL_CNN = "small_cnn"
EFFICIENTNET_LITE0 = "efficientnet_lite0"

_SMALL_CNN_SIZE = 28
_EFFICIENTNET_LITE0_SIZE = 224
_MAP_AXES = 4

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


def create(architecture: str, classes: int, *, height: int, width: int) -> nn.Module:
    """Build a bare network that maps normalised images [N,3,height,width] to logits [N,classes].

    Args:
        architecture: A torchvision name, "small_cnn", "efficientnet_lite0" or "module:factory".
        classes: Number of classes.
        height: Rows of the input.
        width: Columns of the input.

    Returns:
        The network with fresh weights from torch's global random state; no activation of its
        modules works in place.

    Raises:
        ArchitectureError: If the name is unknown, its package is missing, or it cannot take this
            input size.
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
    return network


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


def default_size(architecture: str) -> tuple[int, int]:
    """Return the rows and columns that an architecture's published weights were made for."""
    if architecture == SMALL_CNN:
        return _SMALL_CNN_SIZE, _SMALL_CNN_SIZE
    if architecture == EFFICIENTNET_LITE0 or ":" in architecture:
        return _EFFICIENTNET_LITE0_SIZE, _EFFICIENTNET_LITE0_SIZE
    (side,) = torchvision.models.get_model_weights(architecture).DEFAULT.transforms().crop_size
    return side, side


def target_layer(architecture: str, *, height: int, width: int) -> str:
    """Return the dotted name of the layer that Grad-CAM should read.

    For the user's own network this is the last module whose output is a feature map of more than
    one position; it is found by one forward pass on an empty image.

    Raises:
        ArchitectureError: If the network cannot be built, or has no such layer.
    """
    if architecture == SMALL_CNN:
        return "relu4"
    if architecture == EFFICIENTNET_LITE0:
        return "_swish"
    if ":" in architecture:
        return _last_feature_map(
            create(architecture, 2, height=height, width=width), height, width
        )
    families = [name for name in _TARGET_LAYERS if architecture.startswith(name)]
    pattern = _TARGET_LAYERS[max(families, key=len)]
    if "-" not in pattern:
        return pattern
    with torch.device("meta"):
        network = create(architecture, 2, height=height, width=width)
    return _resolve(network, pattern)


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
    except (ImportError, AttributeError, ValueError) as error:
        raise ArchitectureError(f"cannot import the factory {architecture!r}: {error}") from error
    try:
        network = factory(num_classes=classes)
    except TypeError as error:
        raise ArchitectureError(
            f"{architecture!r} cannot be called as factory(num_classes={classes}): {error}"
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


def _last_feature_map(network: nn.Module, height: int, width: int) -> str:
    found: list[str] = []

    def note(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if (
                isinstance(output, Tensor)
                and output.dim() == _MAP_AXES
                and output[0, 0].numel() > 1
            ):
                found.append(name)

        return hook

    for name, module in network.named_modules():
        if name:
            module.register_forward_hook(note(name))
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, height, width))
    if not found:
        raise ArchitectureError(
            f"{type(network).__name__} has no layer with a feature map [N,C,h,w] at "
            f"{height} x {width}; name the target layer in the spec"
        )
    return found[-1]
