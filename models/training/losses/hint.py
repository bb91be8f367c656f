"""HINT, human importance-aware network tuning: evidence where people look, in two readings.

References:
    Selvaraju et al. (2019), Taking a HINT: Leveraging explanations to make vision and language
    models more grounded, arXiv:1902.03751 (the ranking; formula recalled, not re-read).
    Friedrich et al. (2023), A typology..., arXiv:2203.03668 (the matching).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.explainers.gradcam import gradcam
from models.explainers.hirescam import hirescam
from models.training.losses.gradcam_penalty import unit
from models.training.objectives import Batch, Loss, Moment, Objective, fit_mask, weighted


@dataclass(frozen=True)
class HINTRanking(Objective):
    """The original: cells that people rank higher must not have less importance.

    L = CE + λ · mean_n Σ_{r,r'} [h_r' > h_r] · max(α_r - α_r', 0), where h is the share of the
    region in a cell and α the cell's gradient times activation of the true class. The paper sums
    the gradient alone, which before global average pooling is the same in every cell. α is
    divided by its mean magnitude per image (ours), and the sum by the number of pairs, so that λ
    does not depend on the grid. Rows without a region rank nothing: without any this is ERM.

    Attributes:
        weight: λ; the paper weights the task instead.
    """

    weight: float = 1.0
    name: ClassVar[str] = "hint_ranking"

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        forward = classifier.trace(batch.images)
        maps = hirescam(
            classifier, batch.images, batch.labels, forward=forward, create_graph=True
        ).attribution
        importance = maps / (maps.abs().mean((1, 2), keepdim=True) + 1e-12)
        human = fit_mask(batch.relevant, (maps.shape[1], maps.shape[2])).flatten(1)
        human = human * batch.annotated[:, None]
        alpha = importance.flatten(1)
        want = human[:, :, None] > human[:, None, :]
        wrong = torch.relu(alpha[:, None, :] - alpha[:, :, None]) * want
        pairs = want.sum((1, 2)).clamp(min=1)
        penalty = (wrong.sum((1, 2)) / pairs).mean()
        label = functional.cross_entropy(forward.logits, batch.labels)
        return weighted(label, penalty, self.weight)


@dataclass(frozen=True)
class HINTMatching(Objective):
    """The typology's: L = CE + λ · mean_n Σ_u (unit(CAM_y)_u - R_u)² on rows with a region.

    The map is compared on its own grid, where R is the share of the cell that is relevant; the
    typology upsamples the map instead. Without a region in the batch this is ERM.

    Attributes:
        weight: λ.
    """

    weight: float = 0.1
    name: ClassVar[str] = "hint_matching"

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        forward = classifier.trace(batch.images)
        cam = gradcam(
            classifier, batch.images, batch.labels, forward=forward, create_graph=True
        ).attribution
        region = fit_mask(batch.relevant, (cam.shape[1], cam.shape[2]))
        each = ((unit(cam) - region) ** 2).flatten(1).sum(1)
        penalty = (each * batch.annotated).mean()
        label = functional.cross_entropy(forward.logits, batch.labels)
        return weighted(label, penalty, self.weight)
