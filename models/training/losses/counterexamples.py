"""Counterexamples: the same label, with other content where a pixel must not matter.

References:
    Teso, Kersting (2019), Explanatory interactive machine learning, AIES (CAIPI). A is
    `batch.irrelevant`; the copies are drawn anew at every step instead of stored.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.training.objectives import Batch, Loss, Moment, Objective, fit_mask


@dataclass(frozen=True)
class Counterexamples(Objective):
    """L = (CE(x) + Σ_c CE(x with A replaced)) / (1 + copies), first order.

    The reference that every gradient method has to beat: where A covers the whole cue, the cue is
    independent of the label. Rows without a region are not copied; without any this is ERM.

    Attributes:
        copies: Replaced copies per image, 1 or more.
        fill: "noise": a uniform value per pixel and channel. "flat": one uniform grey per copy.
            "colour": one uniform colour per copy. "other": the content of another image of the
            batch at the same place.
    """

    copies: int = 1
    fill: Literal["noise", "flat", "colour", "other"] = "noise"
    name: ClassVar[str] = "counterexamples"
    freezes_batchnorm: ClassVar[bool] = False

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        generator = moment.generator(batch.images.device)
        images = [batch.images]
        rows = batch.annotated.nonzero()[:, 0]
        if len(rows):
            images += [self.replaced(batch, generator)[rows] for _ in range(self.copies)]
        logits = classifier(torch.cat(images))
        labels = torch.cat([batch.labels] + [batch.labels[rows]] * (len(images) - 1))
        each = functional.cross_entropy(logits, labels, reduction="none")
        count = len(batch.labels)
        label = each[:count].mean()
        copied = each[count:].sum() / count / self.copies
        share = self.copies / (1 + self.copies)
        # A row without a region keeps its full weight in the label term.
        own = (each[:count] * torch.where(batch.annotated, 1 - share, 1.0)).mean()
        terms = {"label": label.detach(), "explanation": copied.detach()}
        return Loss(own + share * copied, terms)

    def replaced(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the images with other content under the irrelevant mask."""
        images = batch.images
        size = (images.shape[2], images.shape[3])
        mask = fit_mask(batch.irrelevant, size)[:, None].to(images.dtype)
        return images * (1 - mask) + self._content(images, generator) * mask

    def _content(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if self.fill == "other":
            order = torch.randperm(len(images), generator=generator, device=images.device)
            return images[order]
        count, channels = images.shape[:2]
        flat = {"flat": (count, 1, 1, 1), "colour": (count, channels, 1, 1)}
        shape = flat.get(self.fill, images.shape)
        drawn = torch.rand(shape, generator=generator, device=images.device, dtype=images.dtype)
        return drawn.expand_as(images)
