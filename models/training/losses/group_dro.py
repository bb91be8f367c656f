"""GroupDRO: minimise the worst group's loss by weights that follow it.

References:
    Sagawa, Koh, Hashimoto, Liang (2020), Distributionally robust neural networks for group
    shifts, arXiv:1911.08731, algorithm 1. q is `weights`, η_q `step`, C `adjustment`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.training.image_sets import ImageSet
from models.training.objectives import Batch, Loss, Moment, Objective


@dataclass
class GroupDRO(Objective):
    """L = Σ_g q_g L_g with q_g ← q_g·exp(η L_g)/Z at each step; needs groups, no regions.

    Where every training row follows the cue there is no group that contradicts it, and this
    cannot help.

    Attributes:
        step: η.
        adjustment: C of the term C/√n_g that is added to L_g; 0 for none.
    """

    step: float = 0.01
    adjustment: float = 0.0
    weights: Tensor | None = field(default=None, repr=False)
    counts: Tensor | None = field(default=None, repr=False)
    name: ClassVar[str] = "group_dro"
    freezes_batchnorm: ClassVar[bool] = False
    uses_regions: ClassVar[bool] = False

    @override
    def begin(self, classifier: Classifier, training: ImageSet) -> None:
        groups = torch.from_numpy(training.subpopulations)
        self.counts = torch.bincount(groups).float()
        self.weights = (self.counts > 0).float() / (self.counts > 0).sum()

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        each = functional.cross_entropy(classifier(batch.images), batch.labels, reduction="none")
        present, index = torch.unique(batch.groups, return_inverse=True)
        sums = torch.zeros(len(present), dtype=each.dtype, device=each.device)
        sizes = torch.bincount(index, minlength=len(present))
        losses = sums.index_add(0, index, each) / sizes
        weights = self._follow(present, losses)
        return Loss((weights * losses).sum(), {"label": each.mean().detach()})

    def _follow(self, present: Tensor, losses: Tensor) -> Tensor:
        """Move q after the losses of this batch; return it for the groups present."""
        if self.weights is None or self.counts is None:
            shape = int(present.max()) + 1
            self.weights, self.counts = torch.ones(shape) / shape, torch.ones(shape)
        device = losses.device
        self.weights, self.counts = self.weights.to(device), self.counts.to(device)
        worth = losses.detach().float() + self.adjustment / self.counts[present].sqrt()
        moved = self.weights.clone()
        moved[present] = moved[present] * torch.exp(self.step * worth)
        self.weights = moved / moved.sum()
        return self.weights[present].to(losses.dtype)

    @override
    def state(self) -> dict[str, Tensor]:
        return {} if self.weights is None else {"weights": self.weights}

    @override
    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.weights = state["weights"]
