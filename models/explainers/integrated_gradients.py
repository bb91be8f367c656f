"""Integrated gradients: the change from a baseline to the image, shared out among the pixels."""

import torch
from torch import Tensor

from models.architectures import Classifier
from models.errors import ExplainerError
from models.explainers.base import Explanation, Scalar, check, finish, log_probability
from models.explainers.input_gradients import input_gradients


def integrated_gradients(
    classifier: Classifier,
    images: Tensor,
    targets: Tensor,
    *,
    steps: int = 32,
    baseline: Tensor | None = None,
    scalar: Scalar = log_probability,
    create_graph: bool = False,
) -> Explanation:
    """Explain targets by the input gradient integrated along the line from a baseline.

    The sum of an attribution tends to scalar(image) - scalar(baseline) as the steps grow
    (completeness). The integral is taken by the midpoint rule.

    Args:
        classifier: The classifier to explain.
        images: [N,3,H,W] in [0,1].
        targets: Class indices, int64 [N].
        steps: Number of points on the line, at least 1; each costs a forward and backward pass.
        baseline: Image without evidence, of a shape that broadcasts to `images`; black when None.
        scalar: Turns logits [N,K] and targets [N] into the number [N] to differentiate.
        create_graph: Keep the attribution differentiable; holds all steps' graphs in memory.

    Returns:
        [N,3,H,W] in units of the scalar.

    Raises:
        ExplainerError: If images or targets are not as described, or `steps` is not positive.

    References:
        Sundararajan, Taly, Yan (2017), "Axiomatic attribution for deep networks", equation 1.
    """
    check(images, targets)
    if steps < 1:
        raise ExplainerError(f"expected at least 1 step, got {steps}")
    start = torch.zeros_like(images) if baseline is None else baseline.to(images)
    change = (images - start).detach()
    total = torch.zeros_like(images)
    for step in range(steps):
        point = start + change * ((step + 0.5) / steps)
        total = (
            total
            + input_gradients(
                classifier, point, targets, scalar=scalar, create_graph=create_graph
            ).attribution
        )
    with torch.set_grad_enabled(create_graph):
        logits = classifier(images)
    return finish(change * total / steps, logits, create_graph=create_graph)
