"""Grad-CAM++: feature maps weighted by a position-dependent mean of their positive gradient."""

import torch
from torch import Tensor

from models.architectures import Classifier, Forward
from models.explainers.activation_maps import differentiate
from models.explainers.base import Explanation, finish


def gradcam_plus_plus(
    classifier: Classifier,
    images: Tensor,
    targets: Tensor,
    *,
    forward: Forward | None = None,
    create_graph: bool = False,
) -> Explanation:
    """Explain targets by Grad-CAM++, before its ReLU.

    The paper explains exp(z_t) of a network whose part above the target layer is piecewise
    linear, so that its n-th derivative is exp(z_t) gⁿ with g = ∂z_t/∂A. Then
    α = g² / (2 g² + g³ Σ_ab A_ab), zero where the denominator is zero, the weight of a map is
    w_k = Σ_ij α_kij relu(g_kij), and the result is Σ_k w_k A_kij. The factor
    exp(z_t) is left out: it scales a whole map and may overflow.

    Args:
        classifier: The classifier to explain.
        images: [N,3,H,W] in [0,1].
        targets: Class indices, int64 [N].
        forward: A pass of `classifier.trace` over the same images, to save a second one.
        create_graph: Keep the map differentiable.

    Returns:
        Maps [N,h,w] in units of the logit.

    Raises:
        ExplainerError: If images or targets are not as described.

    References:
        Chattopadhay, Sarkar, Howlader, Balasubramanian (2018), "Grad-CAM++: generalized
        gradient-based visual explanations for deep convolutional networks", section 3.
    """
    maps = differentiate(classifier, images, targets, forward=forward, create_graph=create_graph)
    squared = maps.gradient**2
    total = maps.values.sum((2, 3), keepdim=True)  # [N,C,1,1]
    denominator = 2 * squared + total * maps.gradient * squared
    safe = torch.where(denominator == 0, torch.ones_like(denominator), denominator)
    weights = (squared / safe * maps.gradient.relu()).sum((2, 3), keepdim=True)
    return finish((weights * maps.values).sum(1), maps.logits, create_graph=create_graph)
