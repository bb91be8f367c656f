"""Energy loss: positive attribution must lie inside the region.

References:
    Rao, Böhle, Parchami-Araghi, Schiele (2023), Studying how to efficiently and effectively guide
    models with explanations, ICCV, arXiv:2303.11932, equation of the Energy loss. A⁺ is the
    positive attribution, R is `batch.relevant`, λ is `weight`.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.explainers.base import logit
from models.explainers.gradcam import gradcam
from models.explainers.input_gradients import input_gradients
from models.training.objectives import Batch, Loss, Moment, Objective, fit_mask, weighted

_TINY = 1e-7  # the paper's: below it the share is not defined


@dataclass(frozen=True)
class Energy(Objective):
    """L = CE + λ · mean_n (1 - Σ_R A⁺ / Σ A⁺) over rows with a region, target the true class.

    The paper draws one present class per image; with one label per image that is the label.
    Without a region in the batch this is ERM.

    Attributes:
        weight: λ.
        explainer: "gradcam", or "gradient_x_input" on pixels.
    """

    weight: float = 1.0
    explainer: Literal["gradcam", "gradient_x_input"] = "gradcam"
    name: ClassVar[str] = "energy"

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        positive, logits = self._positive(classifier, batch)
        region = fit_mask(batch.relevant, (positive.shape[1], positive.shape[2]))
        inside, whole = (region * positive).sum((1, 2)), positive.sum((1, 2))
        share = torch.where(whole < _TINY, inside, inside / whole.clamp(min=_TINY))
        penalty = ((1 - share) * batch.annotated).mean()
        label = functional.cross_entropy(logits, batch.labels)
        return weighted(label, penalty, self.weight)

    def _positive(self, classifier: Classifier, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return positive attributions [N, h, w] and logits."""
        if self.explainer == "gradcam":
            explained = gradcam(classifier, batch.images, batch.labels, create_graph=True)
            return explained.attribution.relu(), explained.logits
        explained = input_gradients(
            classifier, batch.images, batch.labels, scalar=logit, create_graph=True
        )
        product = (explained.attribution * batch.images).sum(1)
        return product.relu(), explained.logits
