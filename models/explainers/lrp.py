"""LRP-ε: relevance passed back layer by layer so that its sum is kept."""

from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from models.architectures import Classifier
from models.errors import ExplainerError
from models.explainers import linearised
from models.explainers.base import Explanation, check, check_images, finish, logit
from models.explainers.second_derivatives import pixels_only, twice_differentiable


def lrp_epsilon(
    classifier: Classifier,
    images: Tensor,
    targets: Tensor,
    *,
    epsilon: float | Tensor = 1e-2,
    create_graph: bool = False,
) -> Explanation:
    """Explain targets by layer-wise relevance propagation with the ε rule at every ReLU.

    Relevance is x · ∂z_t/∂x for the pixels x in [0,1], where the derivative of each ReLU output
    a is replaced by a / (a + ε); for ReLU6, by a / (z + ε) with its input z. Convolution, linear
    layer, batch normalisation in eval mode and average pooling pass relevance by their ordinary
    backward pass, max-pooling to its maximum. Biases, the shifts of batch normalisation and of
    the input's normalisation, and ε absorb relevance; without them the sum over an image is its
    target's logit. A black pixel has none, so that a blackened background cannot matter.

    The gates a / (a + ε) come from an ordinary forward pass, and a second pass takes them for its
    ReLUs. Gates of the same pass would give the same heatmap but a wrong parameter gradient,
    because the second derivative would run through the changed rule as well.

    Covered are `small_cnn`, `efficientnet_lite0` and torchvision's alexnet, densenet, googlenet,
    inception_v3, mnasnet, mobilenet_v2, regnet_x, resnet, resnext, shufflenet_v2, vgg, vgg_bn and
    wide_resnet, and your own network of such layers; a ReLU may be shared or a function.

    Args:
        classifier: The classifier to explain; its batch normalisation must be in eval mode.
        images: [N,3,H,W] in [0,1].
        targets: Class indices, int64 [N].
        epsilon: Stabiliser in units of activations, above 0; one number, or one per image [N].
        create_graph: Keep the relevance differentiable.

    Returns:
        [N,3,H,W] in units of the logit, per channel of the image; 0 where a channel is 0.

    Raises:
        ExplainerError: If the network does something that no rule covers (the message names the
            module), or images, targets or epsilon are not as described.

    References:
        Bach, Binder, Montavon, Klauschen, Müller, Samek (2015), "On pixel-wise explanations for
        non-linear classifier decisions by layer-wise relevance propagation", the ε rule;
        Bassi, Decherchi, Cavalli (2024), arXiv:2407.09788, the modified ReLU derivative; their
        networks take images in [0,1], as this relevance does.
    """
    linear = linearise(classifier, images, epsilon, create_graph=create_graph)
    return relevance(classifier, linear, targets)


class Linear(NamedTuple):
    """A classifier as the affine map that it is around one batch, its targets yet to be chosen.

    Attributes:
        images: As they were given, [N,3,H,W] in [0,1].
        logits: One per class, [N,K].
        maps: What stands for the non-affine calls, in their order.
        create_graph: Whether logits and maps are differentiable.
    """

    images: Tensor
    logits: Tensor
    maps: tuple[linearised.Map, ...]
    create_graph: bool


def linearise(
    classifier: Classifier,
    images: Tensor,
    epsilon: float | Tensor = 1e-2,
    *,
    create_graph: bool = False,
) -> Linear:
    """Run a classifier once, so that targets can be chosen by its logits before `relevance`.

    Arguments and errors are those of `lrp_epsilon`.
    """
    check_images(images)
    _check_epsilon(epsilon, images)
    normalised = classifier.normalise(images).detach()
    with torch.set_grad_enabled(create_graph):
        logits, maps = linearised.record(classifier.network, normalised, epsilon)
    return Linear(images.detach(), logits, maps, create_graph)


def relevance(classifier: Classifier, linear: Linear, targets: Tensor) -> Explanation:
    """Explain targets of a linearised classifier; see `lrp_epsilon`."""
    check(linear.images, targets)
    create_graph = linear.create_graph
    with torch.enable_grad():
        normalised = classifier.normalise(linear.images).detach().requires_grad_()
        with twice_differentiable(normalised) if create_graph else nullcontext():
            scores = linearised.replay(classifier.network, normalised, linear.maps)
        with pixels_only():
            (gradient,) = torch.autograd.grad(
                logit(scores, targets).sum(), normalised, create_graph=create_graph
            )
    evidence = linear.images / classifier.std * gradient
    return finish(evidence, linear.logits, create_graph=create_graph)


def covers(classifier: Classifier) -> bool:
    """Tell whether `lrp_epsilon` has a rule for everything that the classifier does as it is."""
    size = classifier.spec.preprocessing
    blank = torch.zeros(1, 3, size.height, size.width).to(classifier.mean)
    try:
        with torch.no_grad():
            linearised.record(classifier.network, classifier.normalise(blank), 1.0)
    except ExplainerError:
        return False
    return True


def _check_epsilon(epsilon: float | Tensor, images: Tensor) -> None:
    if isinstance(epsilon, Tensor):
        if epsilon.shape != images.shape[:1]:
            raise ExplainerError(
                f"expected one epsilon for each of {len(images)} images, got {list(epsilon.shape)}"
            )
    elif epsilon <= 0:
        raise ExplainerError(f"expected epsilon above 0, got {epsilon}")
