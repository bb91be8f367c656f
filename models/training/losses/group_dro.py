"""GroupDRO: minimise the worst group's loss by weights that follow it.

References:
    Sagawa, Koh, Hashimoto, Liang (2020), Distributionally robust neural networks for group
    shifts, arXiv:1911.08731, algorithm 1. q is `weights`, η_q `step`, C `adjustment`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, distributed
from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.errors import TrainingError
from models.training.image_sets import ImageSet
from models.training.objectives import Batch, Loss, Moment, Objective


@dataclass
class GroupDRO(Objective):
    """L = Σ_g q_g L_g with q_g ← q_g·exp(η L_g)/Z at each step; needs groups, no regions.

    Where every training row follows the cue there is no group that contradicts it, and this
    cannot help. In a group of processes L_g is over the joint batch: q is the same in each, and
    the mean of their losses, which DistributedDataParallel descends, is that of one process.

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
        if self.weights is None or self.counts is None:
            raise TrainingError("GroupDRO has no groups yet: call begin first")
        each = functional.cross_entropy(classifier(batch.images), batch.labels, reduction="none")
        self.weights, self.counts = self.weights.to(each), self.counts.to(each)
        sums = torch.zeros_like(self.weights).index_add(0, batch.groups, each)
        sizes = torch.bincount(batch.groups, minlength=len(sums)).to(each)
        joint, rows, processes = _joint(sums.detach(), sizes)
        present = rows > 0
        worth = joint / rows.clamp(min=1) + self.adjustment / self.counts.sqrt()
        moved = self.weights * torch.where(present, torch.exp(self.step * worth), 1.0)
        self.weights = moved / moved.sum()
        losses = processes * sums / rows.clamp(min=1)
        return Loss((self.weights * losses).sum(), {"label": each.mean().detach()})

    @override
    def state(self) -> dict[str, Tensor]:
        return {} if self.weights is None else {"weights": self.weights}

    @override
    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.weights = state["weights"]


def _joint(sums: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, int]:
    """Add up over all processes; return the sums, the sizes and how many processes there are."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return sums, sizes, 1
    both = torch.stack([sums, sizes])
    distributed.all_reduce(both)
    return both[0], both[1], distributed.get_world_size()
