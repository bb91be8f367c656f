"""RBR, right for better reasons: the influence of a masked pixel on the parameters must vanish.

References:
    Shao, Skryagin, Stammer, Schramowski, Kersting (2021), Right for Better Reasons: Training
    differentiable models by constraining their influence functions, AAAI. The paper's
    A·∇_x(∇_θL ᵀ H⁻¹ ∇_θL) is taken with H = I, as the published experiments do
    (formula recalled; practice as in the typology's code, re-derived).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.training.losses.rrr import masked_energy, sum_of_log_probabilities
from models.training.objectives import Batch, Loss, Moment, Objective, weighted


@dataclass(frozen=True)
class RBR(Objective):
    """L = CE + λ · mean_n Σ_d (A_nd · ∂(Σ ∇_θ CE)/∂x_nd · ∂Σ_k log p_k/∂x_nd)².

    Third order: the slowest of all. Without a region in the batch this is ERM.

    Attributes:
        weight: λ; CE is the batch's mean, so λ grows with the square of the batch size.
        ceiling: Largest value of the penalty; None does not limit it. The published code clips
            at 1, which stops its gradient as well.
    """

    weight: float = 1e4
    ceiling: float | None = None
    name: ClassVar[str] = "rbr"

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        pixels = batch.images.detach().requires_grad_()
        logits = classifier.trace(pixels).logits
        label = functional.cross_entropy(logits, batch.labels)
        trainable = [each for each in classifier.parameters() if each.requires_grad]
        slopes = torch.autograd.grad(label, trainable, create_graph=True)
        (influence,) = torch.autograd.grad(
            torch.stack([each.sum() for each in slopes]).sum(), pixels, create_graph=True
        )
        (gradient,) = torch.autograd.grad(
            sum_of_log_probabilities(logits, batch.labels).sum(), pixels, create_graph=True
        )
        penalty = masked_energy(influence * gradient, batch.irrelevant)
        if self.ceiling is not None:
            penalty = penalty.clamp(max=self.ceiling)
        return weighted(label, penalty, self.weight)
