"""RRR, right for the right reasons: input gradients must vanish where a pixel must not matter.

References:
    Ross, Hughes, Doshi-Velez (2017), Right for the Right Reasons: Training Differentiable Models
    by Constraining their Explanations, arXiv:1703.03717, equation in section 3. A is
    `batch.irrelevant`, λ1 is `weight`; λ2 is the optimiser's weight decay. The paper sums both the
    cross-entropy and the penalty over the minibatch, so that the batch size cancels. Its gradients
    are by pixels in 0..255: λ1 / 255² is our weight, 1,000 there is 0.015 here.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.explainers.base import Scalar, log_probability
from models.explainers.input_gradients import input_gradients
from models.training.objectives import Batch, Loss, Moment, Objective, fit_mask, weighted


@dataclass(frozen=True)
class RRR(Objective):
    """L = CE + λ · mean_n Σ_d (A_nd ∂scalar/∂x_nd)².

    Without a region in the batch the second term is zero and this is ERM.

    Attributes:
        weight: λ, on pixels in [0, 1].
        scalar: What is differentiated. "log_probabilities": Σ_k log p_k, the paper's.
            "random_sign": Σ_k s_k (z_k - mean z), s_k = ±1 drawn anew at each step; in
            expectation Σ_k |A ∇z_k|², so that no logit can hide. "log_target": log p_y.
        norm: "l2" as above. "l1", ours: mean_n Σ_d |A_nd ∂scalar/∂x_nd|. Evidence that is spread
            over D values of a cue that move together costs 1/D of what one value costs by
            squares, and the same by absolute values. Another unit: the weight is another.
    """

    weight: float = 10.0
    scalar: Literal["log_probabilities", "random_sign", "log_target"] = "log_probabilities"
    norm: Literal["l2", "l1"] = "l2"
    name: ClassVar[str] = "rrr"

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        explained = input_gradients(
            classifier,
            batch.images,
            batch.labels,
            scalar=self._scalar(batch, moment),
            create_graph=True,
        )
        measure = masked_energy if self.norm == "l2" else masked_mass
        penalty = measure(explained.attribution, batch.irrelevant)
        label = functional.cross_entropy(explained.logits, batch.labels)
        return weighted(label, penalty, self.weight)

    def _scalar(self, batch: Batch, moment: Moment) -> Scalar:
        """Return the function of logits and targets to differentiate."""
        if self.scalar == "log_target":
            return log_probability
        if self.scalar == "log_probabilities":
            return sum_of_log_probabilities
        generator = moment.generator(batch.images.device)

        def random_sign(logits: Tensor, targets: Tensor) -> Tensor:
            del targets
            drawn = torch.rand(logits.shape, generator=generator, device=logits.device)
            centred = logits - logits.mean(1, keepdim=True)
            return (torch.where(drawn < 0.5, -1.0, 1.0) * centred).sum(1)  # noqa: PLR2004  # a fair coin

        return random_sign


def sum_of_log_probabilities(logits: Tensor, targets: Tensor) -> Tensor:
    """Return Σ_k log p_k per image [N]; it does not depend on the targets."""
    del targets
    return logits.log_softmax(1).sum(1)


def masked_energy(gradient: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over images of the squared gradient under the mask.

    Args:
        gradient: [N, C, H, W].
        mask: Bool [N, h, w].
    """
    kept = fit_mask(mask, (gradient.shape[2], gradient.shape[3]))[:, None]
    return ((kept * gradient) ** 2).flatten(1).sum(1).mean()


def masked_mass(gradient: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over images of the absolute gradient under the mask, as `masked_energy`."""
    kept = fit_mask(mask, (gradient.shape[2], gradient.shape[3]))[:, None]
    return (kept * gradient).abs().flatten(1).sum(1).mean()
