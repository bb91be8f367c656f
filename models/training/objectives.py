"""What a training minimises: an `Objective` turns a batch into a loss with named terms."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.training.image_sets import ImageSet


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of an image set as tensors, all on one device.

    Attributes:
        images: Float [N, C, H, W]; in [0, 1] where the set holds pixels.
        labels: Class indices, int64 [N].
        relevant: True where evidence is expected, bool [N, h, w]; the size may differ from the
            images', every objective fits it to what it compares with.
        irrelevant: True where a pixel must not matter, bool [N, h, w]; the complement of
            `relevant` unless the set marks the cue itself.
        annotated: Rows for which the two masks were given, bool [N]; both are all false elsewhere.
        rows: Position of each row in its image set, int64 [N].
        groups: Subpopulation of each row, int64 [N]; the label where the set names none.
    """

    images: Tensor
    labels: Tensor
    relevant: Tensor
    irrelevant: Tensor
    annotated: Tensor
    rows: Tensor
    groups: Tensor

    def on(self, device: torch.device) -> "Batch":
        """Return the same batch on `device`."""
        return Batch(
            images=self.images.to(device),
            labels=self.labels.to(device),
            relevant=self.relevant.to(device),
            irrelevant=self.irrelevant.to(device),
            annotated=self.annotated.to(device),
            rows=self.rows.to(device),
            groups=self.groups.to(device),
        )

    def showing(self, images: Tensor) -> "Batch":
        """Return the same rows with other images."""
        return replace(self, images=images)


class Loss(NamedTuple):
    """What one step minimises.

    Attributes:
        total: Scalar in the autograd graph.
        terms: The parts before weighting, detached: "label" and, where there is one,
            "explanation"; the ratio of the two sets the weight (`balance.py`).
    """

    total: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Moment:
    """Where in a training a step stands, so that schedules and draws need no hidden state.

    Attributes:
        step: Counts from 0 over the whole training.
        epoch: Counts from 0.
        epochs: Epochs planned.
        seed: Seed of the training; with `step` it fixes every draw, hence exact resume.
    """

    step: int = 0
    epoch: int = 0
    epochs: int = 1
    seed: int = 0

    def generator(self, device: torch.device) -> torch.Generator:
        """Return a generator that depends on the seed and the step alone."""
        mixed = (self.seed * 1_000_003 + self.step * 7919 + 17) % (2**63 - 1)
        return torch.Generator(device=device).manual_seed(mixed)


class Objective(ABC):
    """A way of learning: what to minimise for a batch.

    Class attributes:
        freezes_batchnorm: BatchNorm stays in eval mode, so that per-image gradients do not mix
            images. Every objective on attributions sets it (the papers differ; this is ours). On
            a fresh network the statistics then stay at mean 0 and variance 1 for good: it is one
            without normalisation but for scale and shift, and the trainer warns. Begin with
            trained weights there.
        uses_regions: Whether rows without masks contribute to more than the label term.
        planned_length: Whether the loss depends on how many epochs are planned, so that a longer
            training is another one from its first step.
    """

    name: ClassVar[str]
    freezes_batchnorm: ClassVar[bool] = True
    uses_regions: ClassVar[bool] = True
    planned_length: ClassVar[bool] = False

    @property
    def phases(self) -> Mapping[str, float]:
        """Name and learning-rate factor of each optimiser; one, unless steps alternate."""
        return {"all": 1.0}

    def phase(self, moment: Moment) -> str:
        """Name the optimiser that takes the step at `moment`."""
        del moment
        return next(iter(self.phases))

    def skips(self, batch: Batch, moment: Moment) -> bool:
        """Tell whether the step at `moment` is left out: there is nothing in `batch` for it.

        Neither weights nor optimisers then move, not even by momentum or weight decay, and the
        loss counts as zero.
        """
        del batch, moment
        return False

    def check(self, classifier: Classifier, example: Tensor) -> None:
        """Raise `TrainingError` before training if the method cannot run on this classifier.

        Args:
            classifier: The network to be trained.
            example: Images of the training set, float [N, C, H, W].
        """
        del classifier, example

    def begin(self, classifier: Classifier, training: ImageSet) -> None:
        """Prepare what stays fixed during training; called once, also before a resume."""
        del classifier, training

    @abstractmethod
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        """Return the loss of one batch, in the graph of every trainable parameter it uses."""

    def state(self) -> dict[str, Tensor]:
        """Return what changes during training and must survive a resume."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned."""
        del state


class LossModule(nn.Module):
    """The network with its objective inside `forward`: the form DistributedDataParallel needs."""

    def __init__(self, network: Classifier, objective: Objective) -> None:
        super().__init__()
        self.network = network
        self.objective = objective

    @override
    def forward(self, batch: Batch, moment: Moment) -> Loss:
        return self.objective.loss(self.network, batch, moment)


@dataclass(frozen=True)
class ERM(Objective):
    """Cross-entropy on the labels alone: empirical risk minimisation.

    Attributes:
        smoothing: Label smoothing in [0, 1).
    """

    smoothing: float = 0.0
    name: ClassVar[str] = "erm"
    freezes_batchnorm: ClassVar[bool] = False
    uses_regions: ClassVar[bool] = False

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        label = functional.cross_entropy(
            classifier(batch.images), batch.labels, label_smoothing=self.smoothing
        )
        return Loss(label, {"label": label.detach()})


@dataclass
class Reweighted(Objective):
    """Cross-entropy with a weight per row of the training set, normalised within the batch.

    Attributes:
        weights: Positive weight per row, float32 [M].
    """

    weights: Tensor = field(repr=False)
    name: ClassVar[str] = "reweighted"
    freezes_batchnorm: ClassVar[bool] = False
    uses_regions: ClassVar[bool] = False

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        weights = self.weights.to(batch.images.device)[batch.rows]
        each = functional.cross_entropy(classifier(batch.images), batch.labels, reduction="none")
        label = (weights * each).sum() / weights.sum()
        return Loss(label, {"label": label.detach()})


def weighted(label: Tensor, explanation: Tensor, weight: float) -> Loss:
    """Return `label + weight · explanation` with both terms named."""
    terms = {"label": label.detach(), "explanation": explanation.detach()}
    return Loss(label + weight * explanation, terms)


def fit_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Fit masks to a grid as the share of each cell that is covered.

    Args:
        mask: Bool [N, h, w].
        size: Rows and columns wanted; finer than the mask repeats its nearest pixel.

    Returns:
        Float32 [N, rows, columns] in [0, 1].
    """
    values = mask.float()[:, None]
    rows, columns = mask.shape[1:]
    if (rows, columns) == size:
        return values[:, 0]
    if rows >= size[0] and columns >= size[1]:
        return functional.adaptive_avg_pool2d(values, size)[:, 0]
    return functional.interpolate(values, size=size, mode="nearest")[:, 0]
