"""SmoothGrad: input gradients averaged over noisy copies of the image."""

import torch
from torch import Tensor

from models.architectures import Classifier
from models.errors import ExplainerError
from models.explainers.base import Explanation, Scalar, check, finish, log_probability
from models.explainers.input_gradients import input_gradients


def smoothgrad(
    classifier: Classifier,
    images: Tensor,
    targets: Tensor,
    *,
    samples: int = 16,
    sigma: float = 0.15,
    seed: int = 0,
    scalar: Scalar = log_probability,
    create_graph: bool = False,
) -> Explanation:
    """Explain targets by the mean input gradient under Gaussian noise.

    All images of a batch get the same noise, so that none depends on its neighbours.

    Args:
        classifier: The classifier to explain.
        images: [N,3,H,W] in [0,1]; noisy copies may leave that range.
        targets: Class indices, int64 [N].
        samples: Number of noisy copies, at least 1; each costs one forward and backward pass.
        sigma: Standard deviation of the noise, in units of the range [0,1].
        seed: Of the noise; the same seed gives the same attribution.
        scalar: Turns logits [N,K] and targets [N] into the number [N] to differentiate.
        create_graph: Keep the attribution differentiable; holds all copies' graphs in memory.

    Returns:
        [N,3,H,W], per unit of the range [0,1]; the logits are those of the clean images.

    Raises:
        ExplainerError: If images or targets are not as described, or `samples` is not positive.

    References:
        Smilkov, Thorat, Kim, Viégas, Wattenberg (2017), "SmoothGrad: removing noise by adding
        noise", arXiv:1706.03825, section 2; they find 10 to 20 % of noise right.
    """
    check(images, targets)
    if samples < 1:
        raise ExplainerError(f"expected at least 1 sample, got {samples}")
    # On the CPU, so that a seed means the same noise on every device.
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(images)
    for _ in range(samples):
        noise = torch.randn(images.shape[1:], generator=generator, dtype=images.dtype)
        noisy = images + sigma * noise.to(images.device)
        total = (
            total
            + input_gradients(
                classifier, noisy, targets, scalar=scalar, create_graph=create_graph
            ).attribution
        )
    with torch.set_grad_enabled(create_graph):
        logits = classifier(images)
    return finish(total / samples, logits, create_graph=create_graph)
