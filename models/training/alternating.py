"""Alternating RRR: label steps and explanation steps in turn, each with its own optimiser.

Ours: neither loss has a weight, and Adam's moments of the two are kept apart. It was called the
two-stage cycle here; Tao and Shokri's method of two stages is another one (`two_stage.py`).

References:
    Ross, Hughes, Doshi-Velez (2017), arXiv:1703.03717, for the penalty "energy". Rieger et al.
    (2020), Interpretations are useful, whose code can alternate likewise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.explainers.base import log_probability
from models.explainers.input_gradients import input_gradients
from models.training.losses.rrr import masked_energy, sum_of_log_probabilities
from models.training.objectives import Batch, Loss, Moment, Objective, fit_mask

_TINY = 1e-12


@dataclass(frozen=True)
class AlternatingRRR(Objective):
    """`label_steps` steps on CE, then `explanation_steps` on the explanation, and again.

    "share": 1 - Σ_R |g| / Σ |g| with g = ∂log p_y/∂x; "energy": RRR's penalty outside the region.
    An explanation step whose batch has no region is left out; the cycle goes on with the next.

    Attributes:
        label_steps: k1.
        explanation_steps: k2.
        factor: Learning rate of the explanation's optimiser relative to the label's.
        penalty: Which explanation loss.
    """

    label_steps: int = 1
    explanation_steps: int = 1
    factor: float = 0.3
    penalty: Literal["share", "energy"] = "energy"
    name: ClassVar[str] = "alternating_rrr"

    @property
    @override
    def phases(self) -> Mapping[str, float]:
        return {"label": 1.0, "explanation": self.factor}

    @override
    def phase(self, moment: Moment) -> str:
        place = moment.step % (self.label_steps + self.explanation_steps)
        return "label" if place < self.label_steps else "explanation"

    @override
    def skips(self, batch: Batch, moment: Moment) -> bool:
        masks = batch.irrelevant if self.penalty == "energy" else batch.relevant
        return self.phase(moment) == "explanation" and not bool(masks.any())

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        if self.phase(moment) == "label":
            label = functional.cross_entropy(classifier(batch.images), batch.labels)
            return Loss(label, {"label": label.detach()})
        scalar = log_probability if self.penalty == "share" else sum_of_log_probabilities
        explained = input_gradients(
            classifier, batch.images, batch.labels, scalar=scalar, create_graph=True
        )
        gradient = explained.attribution
        if self.penalty == "energy":
            penalty = masked_energy(gradient, batch.irrelevant)
        else:
            magnitude = gradient.abs().sum(1)
            region = fit_mask(batch.relevant, (magnitude.shape[1], magnitude.shape[2]))
            inside = (magnitude * region).sum((1, 2))
            share = inside / (magnitude.sum((1, 2)) + _TINY)
            penalty = ((1 - share) * batch.annotated).mean()
        return Loss(penalty, {"explanation": penalty.detach()})
