"""CDEP: what the cue contributes, by contextual decomposition, must not speak.

References:
    Rieger, Singh, Murdoch, Yu (2020), Interpretations are useful: penalizing explanations to
    align neural networks with prior knowledge, ICML, arXiv:1909.13584, equations 1-3; the
    decomposition: Singh, Murdoch, Yu (2019), Hierarchical interpretations for neural network
    predictions. β(x) is the stream of the irrelevant pixels, γ(x) that of the others; λ `weight`.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.training.layers import plain_layers
from models.training.objectives import Batch, Loss, Moment, Objective, fit_mask, weighted

_KINDS = (
    nn.Conv2d,
    nn.Linear,
    nn.ReLU,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Flatten,
    nn.Dropout,
    nn.Identity,
)
_TINY = 1e-12


class Streams(NamedTuple):
    """What each part of the image contributes to a layer's output; the sum is the output.

    Attributes:
        cue: Of the irrelevant pixels.
        rest: Of all others.
    """

    cue: Tensor
    rest: Tensor


@dataclass(frozen=True)
class CDEP(Objective):
    """L = CE + λ · mean over images and classes of softmax(cue, rest)[cue] of the logits' parts.

    Runs on plain sequences of convolution, linear, ReLU, pooling, flatten and dropout only. Rows
    without a region contribute nothing; without any this is ERM.

    Attributes:
        weight: λ.
    """

    weight: float = 100.0
    name: ClassVar[str] = "cdep"

    @override
    def check(self, classifier: Classifier, example: Tensor) -> None:
        plain_layers(classifier, _KINDS, "CDEP")

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        size = (batch.images.shape[2], batch.images.shape[3])
        mask = fit_mask(batch.irrelevant, size)[:, None]
        streams = decompose(classifier, batch.images, mask)
        logits = streams.cue + streams.rest
        shares = torch.stack(streams, -1).softmax(-1)[..., 0].mean(1)
        penalty = (shares * batch.annotated).mean()
        label = functional.cross_entropy(logits, batch.labels)
        return weighted(label, penalty, self.weight)


def decompose(classifier: Classifier, images: Tensor, mask: Tensor) -> Streams:
    """Split the logits into the contributions of masked and other pixels.

    Args:
        classifier: A plain sequence of layers.
        images: [N, C, H, W] in [0, 1].
        mask: Share of each pixel that goes to the cue's stream, [N, 1, H, W].
    """
    values = classifier.normalise(images)
    streams = Streams(mask * values, (1 - mask) * values)
    for layer in plain_layers(classifier, _KINDS, "CDEP"):
        streams = _through(layer, streams)
    return streams


def _through(layer: nn.Module, streams: Streams) -> Streams:
    """Pass both streams through one layer."""
    cue, rest = streams
    if isinstance(layer, nn.Conv2d | nn.Linear):
        return _affine(layer, streams)
    if isinstance(layer, nn.ReLU):
        active = torch.relu(cue)
        return Streams(active, torch.relu(cue + rest) - active)
    if isinstance(layer, nn.MaxPool2d):
        _, at = functional.max_pool2d(
            cue + rest,
            layer.kernel_size,
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.ceil_mode,
            return_indices=True,
        )
        return Streams(_pick(cue, at), _pick(rest, at))
    if isinstance(layer, nn.Dropout) and layer.training:
        kept = functional.dropout(torch.ones_like(cue), layer.p)
        return Streams(cue * kept, rest * kept)
    return Streams(layer(cue), layer(rest))


def _affine(layer: nn.Conv2d | nn.Linear, streams: Streams) -> Streams:
    """Pass both streams through weights; the bias is divided by their magnitudes."""
    if layer.bias is None:
        return Streams(layer(streams.cue), layer(streams.rest))
    bias = layer.bias.view(-1, *(1,) * (streams.cue.dim() - 2))
    cue, rest = layer(streams.cue) - bias, layer(streams.rest) - bias
    share = cue.abs() / (cue.abs() + rest.abs() + _TINY)
    return Streams(cue + share * bias, rest + (1 - share) * bias)


def _pick(values: Tensor, positions: Tensor) -> Tensor:
    """Take the pooled positions of maps [N, C, H, W]."""
    return values.flatten(2).gather(2, positions.flatten(2)).view_as(positions)
