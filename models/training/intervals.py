"""Interval arithmetic through a plain network: what logits can be when pixels move in a box.

Sound by construction: every image in the box has its logits, and every activation its value,
between the bounds. Used by IBP-Ex and R4.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.architectures import Classifier
from models.training.layers import plain_layers

KINDS = (
    nn.Conv2d,
    nn.Linear,
    nn.BatchNorm2d,
    nn.BatchNorm1d,
    nn.ReLU,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Flatten,
    nn.Dropout,
    nn.Identity,
)


class Interval(NamedTuple):
    """Bounds of a tensor, element by element.

    Attributes:
        lower: Not above the value.
        upper: Not below it.
    """

    lower: Tensor
    upper: Tensor

    @property
    def centre(self) -> Tensor:
        """Return the middle of the bounds."""
        return (self.lower + self.upper) / 2

    @property
    def radius(self) -> Tensor:
        """Return half the distance between the bounds."""
        return (self.upper - self.lower) / 2


def around(centre: Tensor, radius: Tensor) -> Interval:
    """Return the interval of a centre and a radius."""
    return Interval(centre - radius, centre + radius)


def bounds(classifier: Classifier, images: Interval, method: str) -> list[Interval]:
    """Return the bounds before the first layer and after each layer; the last are the logits.

    Args:
        classifier: A plain sequence of layers; batch normalisation in eval mode.
        images: Box of images in [0, 1].
        method: Named if the network is refused.

    Raises:
        TrainingError: If a layer has no rule.
    """
    lower, upper = (classifier.normalise(each) for each in images)
    passed = [Interval(lower, upper)]
    for layer in plain_layers(classifier, KINDS, method):
        passed.append(through(layer, passed[-1]))
    return passed


def through(layer: nn.Module, inside: Interval) -> Interval:
    """Pass bounds through one layer; dropout is left out."""
    if isinstance(layer, nn.Conv2d):
        spread = functional.conv2d(
            inside.radius,
            layer.weight.abs(),
            None,
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
        )
        return around(layer(inside.centre), spread)
    if isinstance(layer, nn.Linear):
        return around(layer(inside.centre), functional.linear(inside.radius, layer.weight.abs()))
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        return _batchnorm(layer, inside)
    if isinstance(layer, nn.Dropout):
        return inside
    # What remains does not fall where its input rises.
    return Interval(layer(inside.lower), layer(inside.upper))


def _batchnorm(layer: nn.BatchNorm1d | nn.BatchNorm2d, inside: Interval) -> Interval:
    """Apply batch normalisation's running statistics as the affine map they are."""
    mean, variance = layer.running_mean, layer.running_var
    scale = torch.rsqrt(variance + layer.eps) if variance is not None else torch.ones(1)
    weight = layer.weight if layer.weight is not None else torch.ones_like(scale)
    bias = layer.bias if layer.bias is not None else torch.zeros_like(scale)
    shape = (1, -1, *(1,) * (inside.lower.dim() - 2))
    factor = (weight * scale).view(shape)
    shift = (bias - (mean if mean is not None else 0) * weight * scale).view(shape)
    return around(inside.centre * factor + shift, inside.radius * factor.abs())
