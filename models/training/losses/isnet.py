"""ISNet's background loss: LRP relevance of the background must vanish.

References:
    Bassi, Dertkigil, Cavalli (2024), Improving deep neural network generalization and robustness
    to background bias via layer-wise relevance propagation optimization, Nature Communications,
    arXiv:2202.00232. P is `share`, d `decay`, E `half`, C1 and C2 `foreground`. The paper's Z^B
    rule for the first layer is not used: the explainer's ε rule goes down to the pixels.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.errors import TrainingError
from models.explainers.lrp import covers, lrp_epsilon
from models.modes import evaluation_mode
from models.training.objectives import Batch, Loss, Moment, Objective, fit_mask

_TINY = 1e-10


@dataclass(frozen=True)
class ISNet(Objective):
    """L = (1 - P)·CE + P·(L_bg + L_F) on rows with a region, CE on the others.

    H = |R| / mean of |R| in the region; b = weighted mean of H outside, sorted descending, with
    weights d^j; L_bg = -log(1 - b/(b + E)). L_F keeps the foreground's relevance in [C1, C2].
    The least likely class is explained. Without a region in the batch this is ERM.

    Attributes:
        share: P in (0, 1).
        decay: d in (0, 1); nearer 1 looks at more of the background.
        half: E, the b at which the background counts half.
        foreground: C1 and C2.
        epsilon: Of LRP.
    """

    share: float = 0.7
    decay: float = 0.9
    half: float = 1.0
    foreground: tuple[float, float] = (1.0, 25.0)
    epsilon: float = 1e-2
    name: ClassVar[str] = "isnet"

    @override
    def check(self, classifier: Classifier, example: Tensor) -> None:
        require_lrp(classifier, "ISNet")

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        with torch.no_grad():
            least = classifier(batch.images).argmin(1)
        explained = lrp_epsilon(
            classifier, batch.images, least, epsilon=self.epsilon, create_graph=True
        )
        each = functional.cross_entropy(explained.logits, batch.labels, reduction="none")
        relevance = explained.attribution.abs().sum(1)
        penalty = self._background(relevance, batch) + self._foreground(relevance, batch)
        known = batch.annotated
        mixed = torch.where(known, (1 - self.share) * each + self.share * penalty, each)
        terms = {
            "label": each.mean().detach(),
            "explanation": (penalty * known).mean().detach(),
        }
        return Loss(mixed.mean(), terms)

    def _background(self, relevance: Tensor, batch: Batch) -> Tensor:
        """Return L_bg per image."""
        inside = fit_mask(batch.relevant, (relevance.shape[1], relevance.shape[2]))
        mean = (relevance * inside).sum((1, 2)) / inside.sum((1, 2)).clamp(min=1)
        outside = (relevance * (1 - inside) / (mean[:, None, None] + _TINY)).flatten(1)
        ordered = outside.sort(dim=1, descending=True).values
        places = torch.arange(ordered.shape[1], device=ordered.device, dtype=ordered.dtype)
        weights = self.decay**places
        pooled = (ordered * weights).sum(1) / weights.sum()
        return -torch.log1p(-pooled / (pooled + self.half) + _TINY)

    def _foreground(self, relevance: Tensor, batch: Batch) -> Tensor:
        """Return L_F per image: quadratic outside [C1, C2], zero inside."""
        inside = fit_mask(batch.relevant, (relevance.shape[1], relevance.shape[2]))
        total = (relevance * inside).sum((1, 2))
        low, high = self.foreground
        below = ((total / low).clamp(max=1) - 1) ** 2
        above = ((total / low).clamp(min=high / low) - high / low) ** 2
        return below + above


def require_lrp(classifier: Classifier, method: str) -> None:
    """Raise if LRP has no rule for some part of the classifier.

    Raises:
        TrainingError: Naming the method and the architecture.
    """
    with evaluation_mode(classifier):
        covered = covers(classifier)
    if not covered:
        raise TrainingError(
            f"{method} cannot run on {classifier.spec.architecture}: LRP does not cover it"
        )
