"""TEA, training with explanations alone: a student learns from its teacher's heatmaps.

References:
    Bassi, Decherchi, Cavalli (2024), Training with explanations alone: a new paradigm to prevent
    shortcut learning, arXiv:2407.09788. Heatmaps by LRP-ε; `geo_l1` is the pyramid loss; the
    random logit, the drawn ε and the copied, frozen last layer are as published.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.errors import TrainingError
from models.explainers.lrp import linearise, lrp_epsilon, relevance
from models.training.batches import batch_of
from models.training.image_sets import ImageSet
from models.training.losses.isnet import require_lrp
from models.training.objectives import Batch, Loss, Moment, Objective, fit_mask

TeacherView = Callable[[Batch], Tensor]
_TINY = 1e-10


@dataclass
class TEA(Objective):
    """L = geoL1(student's heatmap, teacher's heatmap): no labels, no logits.

    The teacher is frozen and sees `view` of each batch; the student sees the images. The student
    begins with fresh weights but for the last layer, copied from the teacher and frozen, so that
    its outputs follow by conservation of relevance. Regions are used by the view only.

    Attributes:
        teacher: A classifier that does not rely on the cue, or sees images without it.
        view: What the teacher sees: `same_images`, `masked_images`, or rows of another set.
        epsilon: Powers of ten between which LRP's ε is drawn per image.
        smallest: The pyramid ends before a side falls below this.
        second: Probability of explaining a random other class instead of the teacher's first.
    """

    teacher: Classifier = field(repr=False)
    view: TeacherView = field(default_factory=lambda: same_images, repr=False)
    epsilon: tuple[float, float] = (-2.0, -1.0)
    smallest: int = 8
    second: float = 0.5
    name: ClassVar[str] = "tea"
    uses_regions: ClassVar[bool] = False

    @override
    def check(self, classifier: Classifier, example: Tensor) -> None:
        require_lrp(classifier, "TEA")
        require_lrp(self.teacher, "TEA's teacher")
        ours, theirs = last_layer(classifier), last_layer(self.teacher)
        if ours.weight.shape != theirs.weight.shape:
            raise TrainingError(
                f"TEA copies the last layer: the student's is {list(ours.weight.shape)}, the "
                f"teacher's {list(theirs.weight.shape)}"
            )

    @override
    def begin(self, classifier: Classifier, training: ImageSet) -> None:
        self.teacher = frozen_teacher(self.teacher, next(classifier.parameters()).device)
        own, theirs = last_layer(classifier), last_layer(self.teacher)
        with torch.no_grad():
            own.weight.copy_(theirs.weight)
            if own.bias is not None and theirs.bias is not None:
                own.bias.copy_(theirs.bias)
        own.requires_grad_(requires_grad=False)

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        generator = moment.generator(batch.images.device)
        shown = self.view(batch)
        low, high = self.epsilon
        drawn = torch.rand(len(shown), generator=generator, device=shown.device)
        epsilon = 10 ** (low + (high - low) * drawn.to(shown.dtype))
        known = linearise(self.teacher, shown, epsilon)
        targets = self._targets(known.logits, generator)
        truth = relevance(self.teacher, known, targets).attribution
        found = lrp_epsilon(classifier, batch.images, targets, epsilon=epsilon, create_graph=True)
        penalty = geo_l1(found.attribution, truth, smallest=self.smallest)
        label = functional.cross_entropy(found.logits.detach(), batch.labels)
        return Loss(penalty, {"label": label, "explanation": penalty.detach()})

    def _targets(self, likely: Tensor, generator: torch.Generator) -> Tensor:
        """Return the teacher's first class, or at random another, int64 [N]."""
        count, classes = likely.shape
        first = likely.argmax(1)
        shift = torch.randint(1, classes, (count,), generator=generator, device=likely.device)
        other = torch.rand(count, generator=generator, device=likely.device) < self.second
        return torch.where(other, (first + shift) % classes, first)


def frozen_teacher(teacher: Classifier, device: torch.device) -> Classifier:
    """Return a copy of the teacher on `device`, in eval mode, that wants no gradient."""
    return deepcopy(teacher).to(device).eval().requires_grad_(requires_grad=False)


def geo_l1(student: Tensor, teacher: Tensor, *, smallest: int = 8) -> Tensor:
    """Return the mean absolute difference of heatmaps, each over their geometric mean size.

    R_S = c·R_T gives |√c - 1/√c|: errors of scale cost symmetrically and a map that collapses
    costs without bound. Averaged over a pyramid of pooled maps.

    Args:
        student: [N, C, H, W], in the graph.
        teacher: [N, C, H, W]; detached here.
        smallest: The pyramid ends before a side falls below this; the full size always counts.
    """
    truth = teacher.detach()
    terms, pool = [], 1
    while pool == 1 or min(student.shape[-2:]) // pool >= smallest:
        mine = functional.avg_pool2d(student, pool) if pool > 1 else student
        theirs = functional.avg_pool2d(truth, pool) if pool > 1 else truth
        sizes = _size(mine) * _size(theirs)
        geometric = (sizes + _TINY**2).sqrt() + _TINY  # not detached
        terms.append((mine / geometric - theirs / geometric).abs().mean())
        pool *= 2
    return torch.stack(terms).mean()


def same_images(batch: Batch) -> Tensor:
    """Show the teacher what the student sees; the teacher was trained without the cue."""
    return batch.images


def masked_images(batch: Batch) -> Tensor:
    """Show the teacher the images with irrelevant pixels black."""
    size = (batch.images.shape[2], batch.images.shape[3])
    return batch.images * (1 - fit_mask(batch.irrelevant, size)[:, None].to(batch.images.dtype))


def other_rows(rows: ImageSet) -> TeacherView:
    """Show the teacher the same rows of another set, for example the one without the cue."""

    def view(batch: Batch) -> Tensor:
        shown = batch_of(rows, batch.rows.cpu().numpy()).images
        return shown.to(batch.images)

    return view


def last_layer(classifier: Classifier) -> nn.Linear:
    """Return the last linear layer.

    Raises:
        TrainingError: If there is none.
    """
    found = [each for each in classifier.network.modules() if isinstance(each, nn.Linear)]
    if not found:
        raise TrainingError(f"{classifier.spec.architecture} has no linear layer")
    return found[-1]


def _size(maps: Tensor) -> Tensor:
    """Return the mean magnitude per image, [N, 1, 1, 1]."""
    return maps.abs().mean((1, 2, 3), keepdim=True)
