"""Input gradients: how a small change of each pixel changes the answer."""

from contextlib import nullcontext

import torch
from torch import Tensor

from models.architectures import Classifier
from models.explainers.base import Explanation, Scalar, check, finish, log_probability
from models.explainers.second_derivatives import pixels_only, twice_differentiable


def input_gradients(
    classifier: Classifier,
    images: Tensor,
    targets: Tensor,
    *,
    scalar: Scalar = log_probability,
    create_graph: bool = False,
) -> Explanation:
    """Explain targets by the gradient of a number per image by its pixels.

    Args:
        classifier: The classifier to explain.
        images: [N,3,H,W] in [0,1]; a graph behind them is not followed.
        targets: Class indices, int64 [N].
        scalar: Turns logits [N,K] and targets [N] into the number [N] to differentiate.
        create_graph: Keep the gradient differentiable.

    Returns:
        ∂scalar/∂pixel, [N,3,H,W], per unit of the range [0,1].

    Raises:
        ExplainerError: If images or targets are not as described.

    References:
        Simonyan, Vedaldi, Zisserman (2014), "Deep inside convolutional networks: visualising
        image classification models and saliency maps", section 3; on the log-probability as in
        Ross, Hughes, Doshi-Velez (2017), "Right for the right reasons".
    """
    check(images, targets)
    with torch.enable_grad():
        pixels = images.detach().requires_grad_()
        with twice_differentiable(pixels) if create_graph else nullcontext():
            logits = classifier.trace(pixels).logits
        with pixels_only():
            (gradient,) = torch.autograd.grad(
                scalar(logits, targets).sum(), pixels, create_graph=create_graph
            )
    return finish(gradient, logits, create_graph=create_graph)
