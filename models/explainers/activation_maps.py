"""What the class activation maps share: feature maps and the gradient of the target's logit."""

from typing import NamedTuple

import torch
from torch import Tensor

from models.architectures import Classifier, Forward
from models.explainers.base import check, logit


class Maps(NamedTuple):
    """Feature maps and their gradient, from one forward pass.

    Attributes:
        values: The target layer's output A as maps, [N,C,h,w].
        gradient: Derivative of each image's target logit z_t by its maps, [N,C,h,w].
        logits: [N,K].
    """

    values: Tensor
    gradient: Tensor
    logits: Tensor


def differentiate(
    classifier: Classifier,
    images: Tensor,
    targets: Tensor,
    *,
    forward: Forward | None,
    create_graph: bool,
) -> Maps:
    """Return the feature maps with the gradient of the targets' logits.

    Args:
        classifier: The classifier to explain.
        images: [N,3,H,W] in [0,1]; not looked at where `forward` is given.
        targets: int64 [N].
        forward: A pass of `classifier.trace` over the images to use instead of a new one; its
            graph stays usable.
        create_graph: Keep the gradient differentiable.

    Raises:
        ExplainerError: If images or targets are not as an explainer needs them.
    """
    check(images, targets)
    with torch.enable_grad():
        traced = classifier.trace(images) if forward is None else forward
        (gradient,) = torch.autograd.grad(
            logit(traced.logits, targets).sum(),
            traced.activation,
            create_graph=create_graph,
            retain_graph=create_graph or forward is not None,
        )
        return Maps(classifier.grid(traced.activation), classifier.grid(gradient), traced.logits)
