"""RR-ClArC: the logits must not change along the direction in which a cue shows itself.

References:
    Dreyer, Pahde, Anders, Samek, Lapuschkin (2024), From hope to safety: unlearning biases of
    deep models via gradient penalization in latent space, AAAI, arXiv:2308.09437, equations 4-6.
    h is `direction`, found by cov(a, t) / var(t) as in Haufe et al. (2014); m is `told`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.errors import TrainingError
from models.modes import evaluation_mode
from models.training.batches import batch_of
from models.training.image_sets import ImageSet
from models.training.objectives import Batch, Loss, Moment, Objective, fit_mask, weighted

_SAMPLES = 512


@dataclass
class RRClArC(Objective):
    """L = CE + λ · mean over images and positions of ((∂ mᵀz/∂a) · h)², a the target layer.

    A fine-tuning: begin with a trained classifier. h is found once, before training, from up to
    512 annotated rows with the cue as it is (t = 1) and with its pixels replaced by the mean
    colour (t = 0). The paper freezes convolutions and batch normalisation; freeze what you wish
    by `requires_grad`. The penalty acts on every row, annotated or not; a training set without
    any region has no direction and is refused.

    Attributes:
        weight: λ.
        told: m. "random": ±1 per class drawn at each step (the paper's best), "target", "all".
    """

    weight: float = 10.0
    told: Literal["random", "target", "all"] = "random"
    direction: Tensor | None = field(default=None, repr=False)
    name: ClassVar[str] = "rr_clarc"

    @override
    def begin(self, classifier: Classifier, training: ImageSet) -> None:
        rows = np.flatnonzero(training.known)[:_SAMPLES]
        if not rows.size:
            raise TrainingError("RR-ClArC needs rows whose irrelevant pixels are marked")
        device = next(classifier.parameters()).device
        batch = batch_of(training, rows).on(device)
        size = (batch.images.shape[2], batch.images.shape[3])
        mask = fit_mask(batch.irrelevant, size)[:, None]
        mean = batch.images.mean((0, 2, 3), keepdim=True)
        cleaned = batch.images * (1 - mask) + mean * mask
        latents = torch.cat([_latents(classifier, batch.images), _latents(classifier, cleaned)])
        shown = torch.cat([torch.ones(len(rows)), torch.zeros(len(rows))]).to(latents)
        self.direction = cue_direction(latents, shown)

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        if self.direction is None:
            raise TrainingError("RR-ClArC has no direction yet: call begin first")
        forward = classifier.trace(batch.images)
        scalar = (self._told(batch, forward.logits, moment) * forward.logits).sum()
        (slope,) = torch.autograd.grad(scalar, forward.activation, create_graph=True)
        maps = classifier.grid(slope)  # [N, C, h, w]
        along = (maps * self.direction.to(maps)[None, :, None, None]).sum(1)
        # The mean gradient of global average pooling shrinks with the grid: rescale by its area.
        cells = maps.shape[2] * maps.shape[3]
        penalty = ((along * cells) ** 2).mean()
        label = functional.cross_entropy(forward.logits, batch.labels)
        return weighted(label, penalty, self.weight)

    @override
    def state(self) -> dict[str, Tensor]:
        return {} if self.direction is None else {"direction": self.direction}

    @override
    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.direction = state["direction"]

    def _told(self, batch: Batch, logits: Tensor, moment: Moment) -> Tensor:
        """Return m, [N, K]."""
        if self.told == "target":
            return functional.one_hot(batch.labels, logits.shape[1]).to(logits)
        if self.told == "all":
            return torch.ones_like(logits)
        generator = moment.generator(logits.device)
        drawn = torch.rand(logits.shape, generator=generator, device=logits.device)
        sign: Tensor = torch.where(drawn < 0.5, -1.0, 1.0)  # noqa: PLR2004  # a fair coin
        return sign.to(logits)


def cue_direction(latents: Tensor, shown: Tensor) -> Tensor:
    """Return cov(a, t) / var(t) at unit length.

    Args:
        latents: a, [M, C].
        shown: t, 1 where the cue is in the image, [M].

    Raises:
        TrainingError: If the cue changes no latent, so that there is no direction.
    """
    centred = shown - shown.mean()
    covariance = ((latents - latents.mean(0)) * centred[:, None]).mean(0)
    pattern = covariance / (centred**2).mean()
    length = pattern.norm()
    if not bool(length > 0):
        raise TrainingError("the cue leaves no trace in the target layer: there is no direction")
    direction: Tensor = pattern / length
    return direction


def _latents(classifier: Classifier, images: Tensor) -> Tensor:
    """Return the mean activation per channel of the target layer, [N, C]."""
    with torch.no_grad(), evaluation_mode(classifier):
        maps: Tensor = classifier.grid(classifier.trace(images).activation)
    return maps.mean((2, 3))
