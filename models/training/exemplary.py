"""eXBL: explanations near one good and far from one bad exemplary explanation.

References:
    Hagos, Curran, Mac Namee (2023), Learning from exemplary explanations, arXiv:2307.06026.
    E_i = X_i·CAM(X_i) is `explanation_of`; equation 4 (AR) is `activation_recalls`; 5 and 6 choose
    C_good and C_bad (`by_recall`); 7-9 are the loss, with m as `margin`. Each E is scaled to unit
    length (ours): unscaled, distances are so small that a margin of 1 is always active.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.errors import TrainingError
from models.explainers.base import heatmap
from models.explainers.gradcam import gradcam
from models.modes import evaluation_mode
from models.training.batches import batches
from models.training.image_sets import ImageSet
from models.training.losses.gradcam_penalty import unit
from models.training.objectives import Batch, Loss, Moment, Objective, fit_mask, weighted

Verdict = Literal["right reason", "wrong reason"]
_TINY = 1e-12


class Exemplar(NamedTuple):
    """One exemplary explanation with its provenance.

    Attributes:
        identifier: The image's name in its set.
        row: Its position in the set.
        recall: Its Activation Recall, equation 4, of the heatmap (Grad-CAM after ReLU over its
            maximum) and the region as the share of each cell of the map.
        explanation: E at unit length, [h, w].
        chosen_by: "recall", or the reviewer's name.
    """

    identifier: str
    row: int
    recall: float
    explanation: Tensor
    chosen_by: str = "recall"


@dataclass
class ExemplaryLearning(Objective):
    """L = CE + λ · mean_n max(‖E_n - C_good‖ - ‖E_n - C_bad‖ + m, 0), CAM of the true class.

    Only two annotated images are needed, so every row takes part, with or without a region. A
    refinement: begin with a trained classifier. Without given exemplars they are chosen by recall
    among the annotated rows before training; a set without a region is refused.

    Attributes:
        weight: λ.
        margin: m, on distances in [0, √2].
        good: C_good; None chooses it.
        bad: C_bad; None chooses it.
    """

    weight: float = 1.0
    margin: float = 0.1
    good: Exemplar | None = field(default=None, repr=False)
    bad: Exemplar | None = field(default=None, repr=False)
    name: ClassVar[str] = "exbl"

    @override
    def begin(self, classifier: Classifier, training: ImageSet) -> None:
        if self.good is None or self.bad is None:
            self.good, self.bad = by_recall(ranked(classifier, training))

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        if self.good is None or self.bad is None:
            raise TrainingError("eXBL has no exemplars yet: call begin first")
        forward = classifier.trace(batch.images)
        cam = gradcam(
            classifier, batch.images, batch.labels, forward=forward, create_graph=True
        ).attribution
        shown = explanation_of(batch.images, cam)
        near = _distance(shown, self.good.explanation.to(shown))
        far = _distance(shown, self.bad.explanation.to(shown))
        penalty = torch.relu(near - far + self.margin).mean()
        label = functional.cross_entropy(forward.logits, batch.labels)
        return weighted(label, penalty, self.weight)

    @override
    def state(self) -> dict[str, Tensor]:
        if self.good is None or self.bad is None:
            return {}
        return {"good": self.good.explanation, "bad": self.bad.explanation}

    @override
    def restore(self, state: Mapping[str, Tensor]) -> None:
        if self.good is not None and self.bad is not None:
            self.good = self.good._replace(explanation=state["good"])
            self.bad = self.bad._replace(explanation=state["bad"])


def explanation_of(images: Tensor, cam: Tensor) -> Tensor:
    """Return E: the grey image on the map's grid times the map in [0, 1], at unit length.

    Args:
        images: [N, C, H, W].
        cam: Raw Grad-CAM, [N, h, w].
    """
    grey = functional.adaptive_avg_pool2d(
        images.mean(1, keepdim=True), (cam.shape[1], cam.shape[2])
    )[:, 0]
    product = grey * unit(cam)
    length = ((product**2).sum((1, 2)) + _TINY**2).sqrt()
    return product / length[:, None, None]


def activation_recalls(cam: Tensor, region: Tensor) -> Tensor:
    """Return AR = Σ(CAM·A) / ΣA per image [N], CAM after ReLU divided by its maximum.

    Args:
        cam: Raw Grad-CAM, [N, h, w].
        region: Bool [N, H, W]; an image without a region has no recall and gets NaN.
    """
    share = fit_mask(region, (cam.shape[1], cam.shape[2])).to(cam.dtype)
    covered = (heatmap(cam) * share).sum((1, 2))
    return covered / share.sum((1, 2))


def ranked(classifier: Classifier, rows: ImageSet, *, size: int = 256) -> list[Exemplar]:
    """Return every annotated row as a candidate, highest Activation Recall first.

    Raises:
        TrainingError: If no row has a region.
    """
    device = next(classifier.parameters()).device
    candidates = []
    with evaluation_mode(classifier):
        for batch in batches(rows, size, order=np.flatnonzero(rows.known).astype(np.int64)):
            here = batch.on(device)
            cam = gradcam(classifier, here.images, here.labels).attribution.detach()
            recalls = activation_recalls(cam, here.relevant).cpu()
            shown = explanation_of(here.images, cam).cpu()
            for row, recall, each in zip(batch.rows.tolist(), recalls, shown, strict=True):
                if torch.isfinite(recall):
                    candidates.append(Exemplar(rows.ids[row], row, float(recall), each))
    if not candidates:
        raise TrainingError("eXBL needs at least one row with a region")
    return sorted(candidates, key=lambda each: each.recall, reverse=True)


def by_recall(candidates: Sequence[Exemplar]) -> tuple[Exemplar, Exemplar]:
    """Return the candidates of highest and lowest recall: equations 5 and 6."""
    return candidates[0], candidates[-1]


def by_reviewer(
    candidates: Sequence[Exemplar], verdicts: Mapping[str, Verdict], reviewer: str
) -> tuple[Exemplar, Exemplar]:
    """Return the best-ranked right-reason and the worst-ranked wrong-reason pick of a person.

    Args:
        candidates: Ranked by recall, highest first.
        verdicts: Image name → verdict, from a shortlist.
        reviewer: Who judged.

    Raises:
        TrainingError: If one of the two verdicts was given to no candidate.
    """
    good = [each for each in candidates if verdicts.get(each.identifier) == "right reason"]
    bad = [each for each in candidates if verdicts.get(each.identifier) == "wrong reason"]
    if not good or not bad:
        raise TrainingError(
            f"{reviewer} gave {len(good)} right-reason and {len(bad)} wrong-reason verdicts to "
            "candidates; one of each is needed"
        )
    return good[0]._replace(chosen_by=reviewer), bad[-1]._replace(chosen_by=reviewer)


def _distance(shown: Tensor, exemplar: Tensor) -> Tensor:
    """Return the L2 distance per image, with a gradient at zero."""
    return (((shown - exemplar) ** 2).sum((1, 2)) + _TINY).sqrt()
