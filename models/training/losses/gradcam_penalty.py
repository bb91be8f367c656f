"""RRR-G: Grad-CAM of the predicted class must be low where a pixel must not matter.

References:
    Schramowski et al. (2020), Making deep neural networks right for the right scientific reasons
    by interacting with their explanations, arXiv:2001.05371; as RRR-G in Friedrich, Stammer,
    Schramowski, Kersting (2023), A typology for exploring the mitigation of shortcut behaviour,
    arXiv:2203.03668. A is `batch.irrelevant` on the grid of the map, λ is `weight`.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.explainers.gradcam import gradcam
from models.training.objectives import Batch, Loss, Moment, Objective, fit_mask, weighted

_TINY = 1e-6


@dataclass(frozen=True)
class GradCAMPenalty(Objective):
    """L = CE + λ · mean_n Σ_u (A_nu · unit(CAM_n)_u)², CAM of the predicted class before ReLU.

    Without a region in the batch the second term is zero and this is ERM. One cell of the map
    covers many pixels, so a small cue is barely masked. A flat map becomes zeros.

    Attributes:
        weight: λ.
    """

    weight: float = 1.0
    name: ClassVar[str] = "gradcam_penalty"

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        forward = classifier.trace(batch.images)
        explained = gradcam(
            classifier,
            batch.images,
            forward.logits.argmax(1),
            forward=forward,
            create_graph=True,
        )
        cam = unit(explained.attribution)
        mask = fit_mask(batch.irrelevant, (cam.shape[1], cam.shape[2]))
        penalty = ((mask * cam) ** 2).flatten(1).sum(1).mean()
        label = functional.cross_entropy(forward.logits, batch.labels)
        return weighted(label, penalty, self.weight)


def unit(maps: Tensor) -> Tensor:
    """Scale each map [N, h, w] to [0, 1] by its own minimum and maximum."""
    shifted = maps - maps.amin((1, 2), keepdim=True)
    return shifted / (shifted.amax((1, 2), keepdim=True) + _TINY)
