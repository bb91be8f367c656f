"""HiResCAM: feature maps weighted by their gradient at each position."""

from torch import Tensor

from models.architectures import Classifier, Forward
from models.explainers.activation_maps import differentiate
from models.explainers.base import Explanation, finish


def hirescam(
    classifier: Classifier,
    images: Tensor,
    targets: Tensor,
    *,
    forward: Forward | None = None,
    create_graph: bool = False,
) -> Explanation:
    """Explain targets by HiResCAM, before any ReLU.

    The map is Σ_k ∂z_t/∂A_kij A_kij. Where only pooling and linear layers follow the target
    layer, its sum is the logit without its bias; with global average pooling it equals Grad-CAM
    up to the number of positions.

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
        Draelos, Carin (2020), "Use HiResCAM instead of Grad-CAM for faithful explanations of
        convolutional neural networks", arXiv:2011.08891.
    """
    maps = differentiate(classifier, images, targets, forward=forward, create_graph=create_graph)
    return finish((maps.gradient * maps.values).sum(1), maps.logits, create_graph=create_graph)
