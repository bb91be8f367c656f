"""e2KD: a student answers as its teacher does, and for the same reasons.

References:
    Parchami-Araghi, Böhle, Rao, Schiele (2024), Good teachers explain: explanation-enhanced
    knowledge distillation, arXiv:2402.03119. L_KD is the first term with their τ as
    `temperature`; L_exp is the second with λ as `weight`; E is the explanation of the teacher's
    first class, here Grad-CAM before its ReLU. Stored maps of the teacher are their "frozen"
    explanations; without augmentation they are the teacher's very own.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.errors import TrainingError
from models.explainers.gradcam import gradcam
from models.training.batches import batches
from models.training.distillation import TeacherView, frozen_teacher, same_images
from models.training.image_sets import ImageSet
from models.training.objectives import Batch, Loss, Moment, Objective, weighted

_TINY = 1e-12


@dataclass
class E2KD(Objective):
    """L = τ²·KL(p_T ‖ p_S at τ) + λ·mean_n (1 - cos(E_T, E_S)): no labels.

    The teacher is frozen and sees `view` of each batch; the student sees the images. Unlike TEA
    the outputs are matched as well, so a cue that the view leaves visible is handed on.

    Attributes:
        teacher: A classifier of the same classes.
        view: What the teacher sees.
        weight: λ.
        temperature: τ, above 0.
        stored: Ask the teacher once before training and keep its answers, instead of every step.
    """

    teacher: Classifier = field(repr=False)
    view: TeacherView = field(default_factory=lambda: same_images, repr=False)
    weight: float = 1.0
    temperature: float = 1.0
    stored: bool = True
    name: ClassVar[str] = "e2kd"
    uses_regions: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise TrainingError(f"e2kd: temperature is {self.temperature}, needed is above 0")
        self._logits: Tensor | None = None
        self._maps: Tensor | None = None

    @override
    def check(self, classifier: Classifier, example: Tensor) -> None:
        if classifier.spec.classes != self.teacher.spec.classes:
            raise TrainingError(
                f"e2kd: the student's classes are {list(classifier.spec.classes)}, the "
                f"teacher's {list(self.teacher.spec.classes)}"
            )

    @override
    def begin(self, classifier: Classifier, training: ImageSet) -> None:
        device = next(classifier.parameters()).device
        self.teacher = frozen_teacher(self.teacher, device)
        if self.stored:
            asked = [self._ask(batch.on(device)) for batch in batches(training, 64)]
            self._logits = torch.cat([logits for logits, _ in asked])
            self._maps = torch.cat([maps for _, maps in asked])

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        if self._logits is None or self._maps is None:
            logits, truth = self._ask(batch)
        else:
            logits, truth = self._logits[batch.rows], self._maps[batch.rows]
        forward = classifier.trace(batch.images)
        found = gradcam(
            classifier, batch.images, logits.argmax(1), forward=forward, create_graph=True
        ).attribution
        soft = functional.kl_div(
            (forward.logits / self.temperature).log_softmax(1),
            (logits.to(forward.logits) / self.temperature).log_softmax(1),
            reduction="batchmean",
            log_target=True,
        )
        size = (found.shape[1], found.shape[2])
        expected = functional.adaptive_avg_pool2d(truth.to(found)[:, None], size)[:, 0]
        apart = (1 - _cosine(found, expected)).mean()
        return weighted(self.temperature**2 * soft, apart, self.weight)

    def _ask(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the teacher's logits [N, K] and the map [N, h, w] of its first class."""
        shown = self.view(batch).to(self.teacher.mean)
        with torch.enable_grad():
            forward = self.teacher.trace(shown.detach().requires_grad_())
        likely = forward.logits.argmax(1)
        explained = gradcam(self.teacher, shown, likely, forward=forward)
        return forward.logits.detach(), explained.attribution.detach()


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    """Return the cosine of the maps [N, h, w] per image; 0 where one of them is flat zero."""
    product = (one * other).sum((1, 2))
    lengths = (one**2).sum((1, 2)) * (other**2).sum((1, 2))
    return product / (lengths + _TINY).sqrt()
