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
from models.errors import TrainingError
from models.training.objectives import Batch, Loss, Moment, Objective, fit_mask


@dataclass(frozen=True)
class Counterexamples(Objective):
    """L = (1 - share)·CE(x) + share·mean_c CE(x with A replaced), first order.

    The reference that every gradient method has to beat: where A covers the whole cue, the cue is
    independent of the label in the copies. Rows without a region are not copied; without any this
    is ERM.

    Attributes:
        copies: Replaced copies per image, 1 or more.
        share: Weight of the copies, in (0, 1]; None is copies / (1 + copies), every image alike.
            What the images themselves still tell of the cue goes with 1 - share.
        fill: "noise": a uniform value per pixel and channel. "flat": one uniform grey per copy.
            "colour": one uniform colour per copy. "other": the content of another image of the
            batch at the same place. "exchange": the mean colour under another image's mask; the
            copies then show the cues that there are, where uniform colours are seen to be none.
    """

    copies: int = 1
    share: float | None = None
    fill: Literal["noise", "flat", "colour", "other", "exchange"] = "noise"
    name: ClassVar[str] = "counterexamples"
    freezes_batchnorm: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.share is not None and not 0 < self.share <= 1:
            raise TrainingError(f"counterexamples: share is {self.share}, needed is 0 < share ≤ 1")

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
        share = self.copies / (1 + self.copies) if self.share is None else self.share
        # A row without a region keeps its full weight in the label term.
        own = (each[:count] * torch.where(batch.annotated, 1 - share, 1.0)).mean()
        terms = {"label": label.detach(), "explanation": copied.detach()}
        return Loss(own + share * copied, terms)

    def replaced(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the images with other content under the irrelevant mask."""
        images = batch.images
        size = (images.shape[2], images.shape[3])
        mask = fit_mask(batch.irrelevant, size)[:, None].to(images.dtype)
        return images * (1 - mask) + self._content(images, mask, generator) * mask

    def _content(self, images: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        if self.fill in {"other", "exchange"}:
            order = torch.randperm(len(images), generator=generator, device=images.device)
            if self.fill == "other":
                return images[order]
            means = (images * mask).sum((2, 3)) / mask.sum((2, 3)).clamp_min(1)
            return means[order][:, :, None, None].expand_as(images)
        count, channels = images.shape[:2]
        flat = {"flat": (count, 1, 1, 1), "colour": (count, channels, 1, 1)}
        shape = flat.get(self.fill, images.shape)
        drawn = torch.rand(shape, generator=generator, device=images.device, dtype=images.dtype)
        return drawn.expand_as(images)
