"""Grad-CAM: feature maps weighted by the mean of their gradient."""

from torch import Tensor

from models.architectures import Classifier, Forward
from models.explainers.activation_maps import differentiate
from models.explainers.base import Explanation, finish


def gradcam(
    classifier: Classifier,
    images: Tensor,
    targets: Tensor,
    *,
    forward: Forward | None = None,
    create_graph: bool = False,
) -> Explanation:
    """Explain targets by Grad-CAM, before its ReLU.

    With the feature maps A_k and the target's logit z_t: w_k = mean_ij ∂z_t/∂A_kij, and the map
    is Σ_k w_k A_kij. `base.heatmap` applies the ReLU of the paper's equation 2 and scales.

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
        Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra (2017), "Grad-CAM: visual explanations
        from deep networks via gradient-based localization", equations 1 and 2.
    """
    maps = differentiate(classifier, images, targets, forward=forward, create_graph=create_graph)
    weights = maps.gradient.mean((2, 3), keepdim=True)  # [N,C,1,1]
    return finish((weights * maps.values).sum(1), maps.logits, create_graph=create_graph)
