"""Rand-Ex, PGD-Ex and IBP-Ex: the answer must not change when irrelevant pixels do.

Each takes a gradient penalty beside it (`gradient` > 0), in one of two forms (`gradient_form`):

rrr         mean_n Σ_d (m_nd ∂Σ_k log p_k/∂x_nd)², as in RRR. Ours: the penalty that is tuned for
            RRR, and that does not depend on the batch size.
published   the paper's, with h = ∂Σ_k z_k/∂x. I+G: Σ_n Σ_d |h_nd m_nd|. P+G: Σ_n ‖h_n·m_n‖₂. Both
            are sums over the batch, so their weight depends on its size; h is by pixels in [0, 1].

They differ in the scalar (log-probabilities or logits), in the power and in the reduction. Rand-Ex
has no published combination, and takes the first form alone. The published scalar is blind: logits
that move against each other leave their sum, and the penalty, at zero. On D3 it gave PGD-Ex 72 %
on average where RRR's form gave 95 (a third of the digits, one seed).

Units. `radius` is of pixels in [0, 1]. The paper's ε is of inputs over CIFAR's σ, about 0.2: its
grid 1, 2, 3 is 0.2, 0.4, 0.6 here, and a radius of 1 here is 5 there. Its λ is on the mean over a
batch of 16, by normalised inputs: λ = 1 is `gradient = 16·0.2/batch` of the published form. Train
with clipped gradients (`clip=1`) and a falling rate: both methods diverge without.

References:
    Heo, Piratla, Wicker, Weller (2023), Use perturbations when learning from explanations,
    NeurIPS, arXiv:2303.06419, section 3; m is `batch.irrelevant`, ε is `radius` on pixels in
    [0, 1], α `trust`. IBP: Gowal et al. (2018), arXiv:1810.12715. Re-derived from the formulas.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.explainers.input_gradients import input_gradients
from models.training.intervals import KINDS, Interval, bounds
from models.training.layers import plain_layers
from models.training.losses.rrr import masked_energy, sum_of_log_probabilities
from models.training.objectives import Batch, Loss, Moment, Objective, fit_mask

Measure: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class RandEx(Objective):
    """L = CE(x) + CE(x + m·ε·N(0, 1)) on rows with a region, CE on the others.

    Without a region in the batch this is ERM (twice the loss on annotated rows, as published).

    Attributes:
        radius: ε.
        gradient: Weight of the RRR penalty beside it.
    """

    radius: float = 0.5
    gradient: float = 0.0
    name: ClassVar[str] = "rand_ex"

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        generator = moment.generator(batch.images.device)
        noise = torch.randn(
            batch.images.shape, generator=generator, device=batch.images.device
        ).to(batch.images.dtype)
        moved = batch.images + _mask(batch) * self.radius * noise
        return _twice(classifier, batch, moved, self.gradient)


@dataclass(frozen=True)
class PGDEx(Objective):
    """L = CE(x) + CE(x'), x' the worst found in `steps` signed gradient steps of masked pixels.

    Rows without a region are not attacked; without any this is ERM.

    Attributes:
        radius: ε; each step moves ε/steps, so that the box is reached and not left.
        steps: K.
        gradient: Weight of the gradient penalty beside it (P+G).
        gradient_form: Which penalty; "published" is Σ_n ‖h_n·m_n‖₂.
    """

    radius: float = 0.5
    steps: int = 7
    gradient: float = 0.0
    gradient_form: Literal["rrr", "published"] = "rrr"
    name: ClassVar[str] = "pgd_ex"

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        measure = _length if self.gradient_form == "published" else None
        moved = self.attack(classifier, batch)
        return _twice(classifier, batch, moved, self.gradient, published=measure)

    def attack(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Return the attacked images; parameters receive no gradient from the search."""
        reach = _mask(batch) * self.radius
        moved = batch.images.detach()
        if not bool(batch.annotated.any()):
            return moved
        for _ in range(self.steps):
            moved = moved.detach().requires_grad_()
            loss = functional.cross_entropy(classifier(moved), batch.labels)
            (slope,) = torch.autograd.grad(loss, moved)
            stepped = moved.detach() + self.radius / self.steps * slope.sign()
            moved = torch.maximum(
                torch.minimum(stepped, batch.images + reach), batch.images - reach
            )
        return moved.detach()


@dataclass(frozen=True)
class IBPEx(Objective):
    """L = α·CE(x) + (1 - α)·CE(worst logits in the box) on rows with a region.

    The worst logits are the true class's lower bound beside the others' upper bounds. α falls
    linearly from `trust` to half of it over the training while ε rises from `start` to
    `start + radius`. Runs on plain sequences of layers only, and loosens with every layer: it is
    for shallow networks. Without a region in the batch this is ERM.

    Attributes:
        radius: Rise of ε.
        start: ε at the beginning.
        trust: α at the beginning, in (0, 1].
        gradient: Weight of the gradient penalty beside it (I+G).
        gradient_form: Which penalty; "published" is Σ_n Σ_d |h_nd·m_nd|.
    """

    radius: float = 0.5
    start: float = 0.0
    trust: float = 1.0
    gradient: float = 0.0
    gradient_form: Literal["rrr", "published"] = "rrr"
    name: ClassVar[str] = "ibp_ex"
    planned_length: ClassVar[bool] = True

    @override
    def check(self, classifier: Classifier, example: Tensor) -> None:
        plain_layers(classifier, KINDS, "IBP-Ex")

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        passed = moment.epoch / moment.epochs
        trust = self.trust * (1 - passed / 2)
        reach = _mask(batch) * (self.start + passed * self.radius)
        measure = _mass if self.gradient_form == "published" else None
        logits, penalty = _answer(classifier, batch, self.gradient, published=measure)
        box = Interval(batch.images - reach, batch.images + reach)
        limits = bounds(classifier, box, "IBP-Ex")[-1]
        own = functional.one_hot(batch.labels, logits.shape[1]).bool()
        worst = torch.where(own, limits.lower, limits.upper)
        clean = functional.cross_entropy(logits, batch.labels, reduction="none")
        robust = functional.cross_entropy(worst, batch.labels, reduction="none")
        mixed = torch.where(batch.annotated, trust * clean + (1 - trust) * robust, clean)
        terms = {
            "label": clean.mean().detach(),
            "explanation": (robust * batch.annotated).mean().detach(),
        }
        if self.gradient:
            terms["gradient"] = penalty.detach()
        return Loss(mixed.mean() + self.gradient * penalty, terms)


def _mask(batch: Batch) -> Tensor:
    """Return m at the images' size, [N, 1, H, W]."""
    size = (batch.images.shape[2], batch.images.shape[3])
    return fit_mask(batch.irrelevant, size)[:, None].to(batch.images.dtype)


def _answer(
    classifier: Classifier, batch: Batch, gradient: float, *, published: Measure | None = None
) -> tuple[Tensor, Tensor]:
    """Return the logits and the masked gradient penalty, zero where it has no weight.

    Args:
        classifier: The classifier in training.
        batch: What it is asked about.
        gradient: Weight of the penalty.
        published: What the paper measures of h·m per image; None takes RRR's form.
    """
    if not gradient:
        return classifier(batch.images), torch.zeros((), device=batch.images.device)
    explained = input_gradients(
        classifier,
        batch.images,
        batch.labels,
        scalar=sum_of_log_probabilities if published is None else _sum_of_logits,
        create_graph=True,
    )
    if published is None:
        return explained.logits, masked_energy(explained.attribution, batch.irrelevant)
    return explained.logits, published(explained.attribution * _mask(batch)).sum()


def _twice(
    classifier: Classifier,
    batch: Batch,
    moved: Tensor,
    gradient: float,
    *,
    published: Measure | None = None,
) -> Loss:
    """Return CE on the images, and on the moved ones of annotated rows, and the penalty."""
    logits, penalty = _answer(classifier, batch, gradient, published=published)
    label = functional.cross_entropy(logits, batch.labels)
    each = functional.cross_entropy(classifier(moved), batch.labels, reduction="none")
    robust = (each * batch.annotated).mean()
    terms = {"label": label.detach(), "explanation": robust.detach()}
    if gradient:
        terms["gradient"] = penalty.detach()
    return Loss(label + robust + gradient * penalty, terms)


def _sum_of_logits(logits: Tensor, targets: Tensor) -> Tensor:
    """Return Σ_k z_k per image [N]; it does not depend on the targets."""
    del targets
    return logits.sum(1)


def _mass(values: Tensor) -> Tensor:
    """Return Σ|values| per image [N]."""
    return values.abs().flatten(1).sum(1)


def _length(values: Tensor) -> Tensor:
    """Return the L2 norm per image [N]; zero, with a gradient of zero, where there is nothing."""
    squares = (values**2).flatten(1).sum(1)
    something = squares > 0
    return torch.where(something, torch.where(something, squares, 1.0).sqrt(), 0.0)
