"""Tiny float64 classifiers on which slower truths are affordable."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from models import architectures
from models.architectures import Classifier
from models.types import ClassifierSpec, Preprocessing

SIDE = 8
CLASSES = ("a", "b", "c")


def preprocessing(side: int = SIDE, *, shifted: bool = True) -> Preprocessing:
    mean = (0.4, 0.5, 0.6) if shifted else (0.0, 0.0, 0.0)
    return Preprocessing(height=side, width=side, mean=mean, std=(0.2, 0.3, 0.4))


def tiny(*, head: str = "linear", biased: bool = True, seed: int = 0) -> Classifier:
    """Two convolutions around overlapping max-pooling; ReLU shared; maps of 4 x 4 positions.

    The head is linear after global pooling, or has a hidden layer, so that gradients above the
    target layer depend on the image. Unbiased, it shifts nothing, nor does its normalisation.
    """
    torch.manual_seed(seed)
    layers = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(3, 4, 3, padding=1, bias=biased),
        relu=nn.ReLU(),
        pool=nn.MaxPool2d(3, stride=2, padding=1),
        conv2=nn.Conv2d(4, 5, 3, padding=1, bias=biased),
        relu2=nn.ReLU(),
        gap=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
    )
    if head == "hidden":
        layers |= {"hidden": nn.Linear(5, 6, bias=biased), "act": nn.ReLU()}
    layers["fc"] = nn.Linear(6 if head == "hidden" else 5, len(CLASSES), bias=biased)
    network = nn.Sequential(layers)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    spec = ClassifierSpec("tiny", CLASSES, preprocessing(shifted=biased), target_layer="relu2")
    return Classifier(spec, network).double().eval()


def residual(seed: int = 0) -> Classifier:
    """A ResNet-18 of 8 px images with lively batch statistics, in float64 and eval mode."""
    torch.manual_seed(seed)
    spec = architectures.default_spec("resnet18", CLASSES, height=32)
    classifier = architectures.build(spec)
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_(std=0.1)
    return classifier.double().eval()


def batch(count: int = 3, side: int = SIDE, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Images [count,3,side,side] in [0,1] in float64, and targets that run through the classes."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, side, side, generator=generator, dtype=torch.float64)
    return images, torch.arange(count) % len(CLASSES)
