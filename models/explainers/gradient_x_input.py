"""Gradient x input: the part of a first-order change that each pixel's own value makes."""

from torch import Tensor

from models.architectures import Classifier
from models.explainers.base import Explanation, Scalar, finish, log_probability
from models.explainers.input_gradients import input_gradients


def gradient_x_input(
    classifier: Classifier,
    images: Tensor,
    targets: Tensor,
    *,
    scalar: Scalar = log_probability,
    create_graph: bool = False,
) -> Explanation:
    """Explain targets by each pixel times its input gradient; black pixels get nothing.

    Args:
        classifier: The classifier to explain.
        images: [N,3,H,W] in [0,1].
        targets: Class indices, int64 [N].
        scalar: Turns logits [N,K] and targets [N] into the number [N] to differentiate.
        create_graph: Keep the attribution differentiable.

    Returns:
        [N,3,H,W] in units of the scalar; the same whatever range the pixels are counted in.

    Raises:
        ExplainerError: If images or targets are not as described.

    References:
        Shrikumar, Greenside, Shcherbina, Kundaje (2016), "Not just a black box: learning
        important features through propagating activation differences", arXiv:1605.01713.
    """
    gradient = input_gradients(
        classifier, images, targets, scalar=scalar, create_graph=create_graph
    )
    attribution = images.detach() * gradient.attribution
    return finish(attribution, gradient.logits, create_graph=create_graph)
