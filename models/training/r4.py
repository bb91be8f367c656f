"""R4 and Rand-R4: the gradient on irrelevant pixels must vanish in a whole neighbourhood.

References:
    Ghitu, Piratla, Wicker (2025), Model guidance via robust feature attribution (R4), TMLR,
    arXiv:2506.19680. Bounds re-derived; m is `batch.irrelevant`, ε `radius`, k `weight`. The
    paper covers linear, convolution, ReLU and flatten; pooling is ours, and tested to be sound.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input
from typing_extensions import override

from models.architectures import Classifier
from models.errors import TrainingError
from models.training.intervals import Interval, around, bounds
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
    nn.Identity,
)


@dataclass(frozen=True)
class R4(Objective):
    """L = CE + k · Σ (|dl·m| + |du·m|) / numel, dl and du bounds of ∂CE/∂x over |δ| ≤ ε on m.

    The bounds are of the gradient by the normalised image. Loosens with depth. Without a region
    in the batch this is ERM.

    Attributes:
        weight: k.
        radius: ε on pixels in [0, 1].
    """

    weight: float = 15.0
    radius: float = 0.5
    name: ClassVar[str] = "r4"

    @override
    def check(self, classifier: Classifier, example: Tensor) -> None:
        for layer in plain_layers(classifier, _KINDS, "R4"):
            if isinstance(layer, nn.MaxPool2d) and not _tiles(layer):
                raise TrainingError("R4 covers max-pooling without overlap or padding only")

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        label = functional.cross_entropy(classifier(batch.images), batch.labels)
        size = (batch.images.shape[2], batch.images.shape[3])
        mask = fit_mask(batch.irrelevant, size)[:, None].to(batch.images.dtype)
        slope = gradient_bounds(classifier, batch.images, batch.labels, mask * self.radius)
        penalty = ((slope.lower.abs() + slope.upper.abs()) * mask).sum() / batch.images.numel()
        return weighted(label, penalty, self.weight)


@dataclass(frozen=True)
class RandR4(Objective):
    """L = CE + k·mean_n ‖max_i |g(x + m·u_i) - g(x)|·m‖₂ / #(m > 0), u_i ~ U(0, ε), g = ∂CE/∂x.

    As written it penalises the gradient's variation only; `level` adds the gradient itself
    (ours). Any differentiable classifier. Without a region in the batch this is ERM.

    Attributes:
        weight: k.
        radius: ε on pixels in [0, 1].
        samples: How many u_i.
        level: Weight of ‖g(x)·m‖₂ / #(m > 0) relative to the variation.
    """

    weight: float = 15.0
    radius: float = 0.5
    samples: int = 3
    level: float = 0.0
    name: ClassVar[str] = "rand_r4"

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        size = (batch.images.shape[2], batch.images.shape[3])
        mask = fit_mask(batch.irrelevant, size)[:, None].to(batch.images.dtype)
        generator = moment.generator(batch.images.device)
        logits, here = _slope(classifier, batch.images, batch.labels)
        moved = []
        for _ in range(self.samples):
            drawn = torch.rand(batch.images.shape, generator=generator, device=mask.device)
            images = batch.images + mask * self.radius * drawn.to(mask.dtype)
            moved.append((_slope(classifier, images, batch.labels)[1] - here).abs())
        variation = torch.stack(moved).amax(0) * mask
        area = (mask > 0).flatten(1).sum(1).clamp(min=1)
        each = _length(variation) + self.level * _length(here * mask)
        label = functional.cross_entropy(logits, batch.labels)
        return weighted(label, (each / area).mean(), self.weight)


def gradient_bounds(
    classifier: Classifier, images: Tensor, labels: Tensor, reach: Tensor
) -> Interval:
    """Bound ∂CE/∂x, by the normalised image, over all images within `reach`.

    Args:
        classifier: A plain sequence of the layers R4 covers.
        images: [N, C, H, W] in [0, 1].
        labels: int64 [N].
        reach: Largest change of each pixel, [N, 1, H, W].
    """
    layers = plain_layers(classifier, _KINDS, "R4")
    passed = bounds(classifier, Interval(images - reach, images + reach), "R4")
    slope = _logit_slope(passed[-1], labels)
    for layer, inside in zip(reversed(layers), reversed(passed[:-1]), strict=True):
        slope = _back(layer, inside, slope)
    return slope


def _logit_slope(logits: Interval, labels: Tensor) -> Interval:
    """Bound softmax(z) - one_hot(y): each class alone at its end, the others at the other."""
    low, high = logits
    own = functional.one_hot(labels, low.shape[1]).to(low.dtype)
    return Interval(_own_at(low, high) - own, _own_at(high, low) - own)


def _own_at(own: Tensor, others: Tensor) -> Tensor:
    """Return each class's softmax with its logit from `own` and all others' from `others`."""
    classes = torch.eye(own.shape[1], dtype=torch.bool, device=own.device)
    logits = torch.where(classes, own[:, :, None], others[:, None, :])  # [N, K, K]
    return logits.softmax(2).diagonal(dim1=1, dim2=2)


def _back(layer: nn.Module, inside: Interval, slope: Interval) -> Interval:
    """Pass bounds of the gradient back through one layer with inputs between `inside`."""
    if isinstance(layer, nn.Linear):
        return around(slope.centre @ layer.weight, slope.radius @ layer.weight.abs())
    if isinstance(layer, nn.Conv2d):
        return around(
            _conv_back(layer, layer.weight, inside.lower, slope.centre),
            _conv_back(layer, layer.weight.abs(), inside.lower, slope.radius),
        )
    if isinstance(layer, nn.ReLU):
        on, off = inside.lower > 0, inside.upper <= 0
        zero = torch.zeros((), dtype=slope.lower.dtype, device=slope.lower.device)
        lower = torch.where(on, slope.lower, torch.where(off, zero, slope.lower.clamp(max=0)))
        upper = torch.where(on, slope.upper, torch.where(off, zero, slope.upper.clamp(min=0)))
        return Interval(lower, upper)
    if isinstance(layer, nn.MaxPool2d):
        return _pool_back(layer, inside, slope)
    # Averages and reshapes: linear with weights of one sign, so both ends pass as they are.
    probe = torch.zeros_like(inside.lower, requires_grad=True)
    output = layer(probe)
    (lower,) = torch.autograd.grad(output, probe, slope.lower, create_graph=True)
    (upper,) = torch.autograd.grad(layer(probe), probe, slope.upper, create_graph=True)
    return Interval(lower, upper)


def _conv_back(layer: nn.Conv2d, weight: Tensor, inputs: Tensor, slope: Tensor) -> Tensor:
    """Transpose a convolution; autocast does not know this one, so the types are made alike."""
    like = slope.to(weight.dtype)
    pulled: Tensor = conv2d_input(  # type: ignore[no-untyped-call]  # torch has no types here
        inputs.shape, weight, like, layer.stride, layer.padding, layer.dilation, layer.groups
    )
    return pulled


def _pool_back(layer: nn.MaxPool2d, inside: Interval, slope: Interval) -> Interval:
    """Route to inputs that are surely, possibly or never the maximum of their window."""
    size = int(layer.kernel_size)  # type: ignore[arg-type]  # _tiles has checked
    lower, upper = _windows(inside.lower, size), _windows(inside.upper, size)
    best = lower.amax(-1, keepdim=True)
    may = upper >= best
    # The one with the highest lower bound is sure if every other upper bound is below it.
    others = torch.where(
        functional.one_hot(lower.argmax(-1), size * size).bool(), float("-inf"), upper
    )
    sure = (lower == best) & (best > others.amax(-1, keepdim=True))
    low, high = slope.lower[..., None], slope.upper[..., None]
    zero = torch.zeros((), dtype=low.dtype, device=low.device)
    at_low = torch.where(sure, low, torch.where(may, low.clamp(max=0), zero))
    at_high = torch.where(sure, high, torch.where(may, high.clamp(min=0), zero))
    shape = inside.lower.shape
    return Interval(_unwindows(at_low, size, shape), _unwindows(at_high, size, shape))


def _tiles(layer: nn.MaxPool2d) -> bool:
    """Tell whether the windows tile their input."""
    same = isinstance(layer.kernel_size, int) and layer.stride == layer.kernel_size
    return same and layer.padding == 0 and layer.dilation == 1


def _windows(maps: Tensor, size: int) -> Tensor:
    """Return [N, C, h, w, size²] of maps [N, C, H, W]; a remainder at the edge is left out."""
    rows, columns = maps.shape[2] // size, maps.shape[3] // size
    cut = maps[:, :, : rows * size, : columns * size]
    split = cut.reshape(*maps.shape[:2], rows, size, columns, size)
    return split.permute(0, 1, 2, 4, 3, 5).reshape(*maps.shape[:2], rows, columns, size * size)


def _unwindows(windows: Tensor, size: int, shape: torch.Size) -> Tensor:
    """Undo `_windows`; what was left out is zero."""
    count, channels, rows, columns = windows.shape[:4]
    split = windows.reshape(count, channels, rows, columns, size, size)
    maps = split.permute(0, 1, 2, 4, 3, 5).reshape(count, channels, rows * size, columns * size)
    pad = (0, shape[3] - maps.shape[3], 0, shape[2] - maps.shape[2])
    return functional.pad(maps, pad)


def _slope(classifier: Classifier, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits and ∂CE/∂x of each image, in the graph of the parameters."""
    pixels = images.detach().requires_grad_()
    logits = classifier.trace(pixels).logits
    loss = functional.cross_entropy(logits, labels, reduction="sum")
    (slope,) = torch.autograd.grad(loss, pixels, create_graph=True)
    return logits, slope


def _length(values: Tensor) -> Tensor:
    """Return the L2 norm per image, with a gradient at zero."""
    return ((values**2).flatten(1).sum(1) + 1e-24).sqrt()
