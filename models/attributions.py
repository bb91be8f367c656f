"""Explainers over `explain.onnx`: each needs one output of the graph, and numpy.

All return signed evidence for the target, summed over the colour channels, float32 [images, rows,
columns]. For one image the numbers do not depend on its neighbours in a batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import ExplainerError
from models.types import Prediction

Pixels = NDArray[np.float32]

_TOGETHER: Final = 32  # images of one call


@dataclass(frozen=True, slots=True)
class Explained:
    """One image's answer together with its evidence per pixel.

    Attributes:
        prediction: As `predict.onnx` would give it.
        gradient: d log p_target / d pixel, per unit of 0..255, float32 [rows, columns, 3].
        relevance: LRP's relevance of the target's logit, float32 [rows, columns]; None where the
            architecture is not covered.
    """

    prediction: Prediction
    gradient: NDArray[np.float32]
    relevance: NDArray[np.float32] | None


Evidence = Literal["input_gradient", "lrp"]
Measure = Callable[[Evidence, Pixels, Sequence[int]], Pixels]
"""An output of the graph, pixels in 0..255 [images, rows, columns, 3] and a target for each, to
that output: the gradient [images, rows, columns, 3], or LRP's relevance [images, rows, columns].
Only what is asked for is computed."""


class Method(Protocol):
    """One way to attribute an answer to pixels."""

    name: ClassVar[str]

    def attribute(self, measure: Measure, pixels: Pixels, targets: Sequence[int]) -> Pixels:
        """Return evidence per pixel, float32 [images, rows, columns]."""
        ...


@dataclass(frozen=True, slots=True)
class InputGradients:
    """What one grey level more at a pixel does to the log-probability.

    References:
        Simonyan, Vedaldi, Zisserman 2014, "Deep Inside Convolutional Networks", section 3; the
        scalar is the log-probability, as in Ross, Hughes, Doshi-Velez 2017, equation 1.
    """

    name: ClassVar[str] = "input_gradients"

    def attribute(self, measure: Measure, pixels: Pixels, targets: Sequence[int]) -> Pixels:
        """Return the gradient, summed over the channels."""
        return _over_channels(measure("input_gradient", pixels, targets))


@dataclass(frozen=True, slots=True)
class GradientXInput:
    """The gradient times the pixel: the first-order share of each pixel, black being nothing.

    References:
        Shrikumar et al. 2016, "Not Just a Black Box", section 2.
    """

    name: ClassVar[str] = "gradient_x_input"

    def attribute(self, measure: Measure, pixels: Pixels, targets: Sequence[int]) -> Pixels:
        """Return gradient times pixel, summed over the channels; the unit of pixels cancels."""
        return _over_channels(measure("input_gradient", pixels, targets) * pixels)


@dataclass(frozen=True, slots=True)
class SmoothGrad:
    """The mean gradient over noisy copies of the image.

    Attributes:
        samples: Copies per image, at least 1.
        sigma: Standard deviation of the noise, as a share of the range 0..255.
        seed: Each image gets the same noise from it.

    References:
        Smilkov et al. 2017, "SmoothGrad", section 3.
    """

    name: ClassVar[str] = "smoothgrad"
    samples: int = 16
    sigma: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1 or self.sigma < 0:
            raise ExplainerError(
                f"smoothgrad needs samples >= 1 and sigma >= 0, got {self.samples}, {self.sigma}"
            )

    def attribute(self, measure: Measure, pixels: Pixels, targets: Sequence[int]) -> Pixels:
        """Return the mean gradient, summed over the channels."""
        rng = np.random.default_rng(self.seed)
        noises = (
            rng.standard_normal(pixels.shape[1:], np.float32) * (255 * self.sigma)
            for _ in range(self.samples)
        )
        total = _summed(measure, (pixels + noise for noise in noises), targets)
        return _over_channels(total / np.float32(self.samples))


@dataclass(frozen=True, slots=True)
class IntegratedGradients:
    """The gradient along the straight way from a plain image; the evidence sums to the difference.

    Attributes:
        steps: Points of the midpoint rule, at least 1; more come closer to completeness.
        baseline: Grey level of the plain image, 0 (black) to 255.

    References:
        Sundararajan, Taly, Yan 2017, "Axiomatic Attribution for Deep Networks", equations 1 and 3.
    """

    name: ClassVar[str] = "integrated_gradients"
    steps: int = 32
    baseline: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.baseline <= 255:  # noqa: PLR2004 - a pixel's range
            raise ExplainerError(
                "integrated_gradients needs steps >= 1 and a baseline in 0..255, "
                f"got {self.steps}, {self.baseline}"
            )

    def attribute(self, measure: Measure, pixels: Pixels, targets: Sequence[int]) -> Pixels:
        """Return (image - baseline) times the mean gradient on the way, summed over channels."""
        way: Pixels = pixels - np.float32(self.baseline)
        points = (
            np.float32(self.baseline) + np.float32((step + 0.5) / self.steps) * way
            for step in range(self.steps)
        )
        total = _summed(measure, points, targets)
        shares: Pixels = total * way / np.float32(self.steps)
        return _over_channels(shares)


@dataclass(frozen=True, slots=True)
class LRP:
    """Layer-wise relevance propagation, epsilon rule, as the graph computes it.

    References:
        Bach et al. 2015, "On Pixel-Wise Explanations ... by Layer-Wise Relevance Propagation",
        equation 58.
    """

    name: ClassVar[str] = "lrp"

    def attribute(self, measure: Measure, pixels: Pixels, targets: Sequence[int]) -> Pixels:
        """Return the relevance of the target's logit."""
        return measure("lrp", pixels, targets)


METHODS: Final[Mapping[str, Method]] = {
    each.name: each
    for each in (InputGradients(), GradientXInput(), SmoothGrad(), IntegratedGradients(), LRP())
}


def _summed(measure: Measure, variants: Iterator[Pixels], targets: Sequence[int]) -> Pixels:
    """Return the sum of the gradients at several variants of the same images.

    Some variants are asked about at once, so that the cores can share them.
    """
    together = max(1, _TOGETHER // len(targets))
    total: Pixels | None = None
    while group := list(islice(variants, together)):
        found = measure("input_gradient", np.concatenate(group), [*targets] * len(group))
        for gradient in found.reshape(len(group), *group[0].shape):
            total = gradient if total is None else total + gradient
    if total is None:
        raise ExplainerError("there is no variant of the images to explain")
    return total


def _over_channels(values: Pixels) -> Pixels:
    summed: Pixels = values.sum(axis=-1)
    return summed
