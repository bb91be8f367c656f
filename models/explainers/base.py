"""What every explainer takes and gives, and how raw attributions become heatmaps.

An explainer is a pure function of a classifier, images [N,3,H,W] in [0,1] and targets int64 [N].
It leaves modes, hooks, gradients and flags of the classifier as found. Batch normalisation works
in the mode the caller has set; in train mode it mixes the images of a batch, so that an
attribution is no longer of one image alone.

With `create_graph=True` everything returned is differentiable with respect to the parameters,
also those above the target layer; without, everything returned is cut off from the graph.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from models.architectures import Classifier
from models.errors import ExplainerError

Scalar = Callable[[Tensor, Tensor], Tensor]
"""Turns logits [N,K] and targets [N] into the one number per image [N] that is explained."""

_IMAGE_AXES = 4


class Explanation(NamedTuple):
    """Evidence for the targets, with the logits of the same forward pass.

    Attributes:
        attribution: Signed and raw; positive speaks for the target. [N,h,w] on the target layer's
            grid for class activation maps, [N,3,H,W] for methods that explain pixels.
        logits: One per class, [N,K].
    """

    attribution: Tensor
    logits: Tensor


class Explainer(Protocol):
    """The call that every explainer in `models.explainers.ALL` answers."""

    __name__: str

    def __call__(
        self,
        classifier: Classifier,
        images: Tensor,
        targets: Tensor,
        *,
        create_graph: bool = False,
    ) -> Explanation:
        """Explain the targets of images [N,3,H,W] in [0,1]."""
        ...


def logit(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the target's logit of each image, [N]."""
    return logits.gather(1, targets[:, None])[:, 0]


def log_probability(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the logarithm of the target's softmax probability of each image, [N]."""
    return logit(logits.log_softmax(1), targets)


def heatmap(attribution: Tensor, *, magnitude: bool = False) -> Tensor:
    """Turn raw attributions into heatmaps in [0,1].

    Pixel attributions are summed over the channels first: signed, so that channels may cancel,
    or by magnitude. Then what is negative becomes zero, and each map is divided by its maximum;
    a map without positive evidence stays all zeros.

    Args:
        attribution: [N,h,w] or [N,3,H,W].
        magnitude: Take absolute values first. Right for input gradients, whose sign tells in
            which direction to change a pixel and not whether it speaks for the target.

    Returns:
        [N,h,w] or [N,H,W].
    """
    values = attribution.abs() if magnitude else attribution
    if values.dim() == _IMAGE_AXES:
        values = values.sum(1)
    positive = values.relu()
    maximum = positive.amax((1, 2), keepdim=True)
    return positive / torch.where(maximum > 0, maximum, torch.ones_like(maximum))


def check(images: Tensor, targets: Tensor) -> None:
    """Refuse what no explainer can work on.

    Raises:
        ExplainerError: If the shapes or types are not those of this module's docstring, or
            gradients cannot be taken because inference mode is on.
    """
    check_images(images)
    if targets.dtype != torch.int64 or targets.dim() != 1 or targets.shape != images.shape[:1]:
        raise ExplainerError(
            f"expected int64 targets, one for each of {len(images)} images, "
            f"got {targets.dtype} {list(targets.shape)}"
        )


def check_images(images: Tensor) -> None:
    """Refuse images, or a mode of torch, that no explainer can work on.

    Raises:
        ExplainerError: As in `check`.
    """
    if images.dim() != _IMAGE_AXES or not images.is_floating_point():
        raise ExplainerError(
            f"expected float images [N,3,H,W] in [0,1], got {images.dtype} {list(images.shape)}"
        )
    if torch.is_inference_mode_enabled():
        raise ExplainerError("an explainer takes gradients; leave torch.inference_mode() first")


def finish(attribution: Tensor, logits: Tensor, *, create_graph: bool) -> Explanation:
    """Return an explanation, cut off from the graph unless a graph was asked for.

    Without the cut a map would carry the part of its graph that autograd happened to keep, and a
    loss on it would train some parameters and silently not others.
    """
    if create_graph:
        return Explanation(attribution, logits)
    return Explanation(attribution.detach(), logits.detach())
