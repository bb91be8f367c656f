"""How a training is configured: optimiser, schedule, criterion, seed, device."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi
from typing import Literal, TypeAlias, get_args

import torch
from torch import nn

from models.backbones import last_linear
from models.errors import TrainingError

_SCHEDULES: TypeAlias = Literal["constant", "cosine", "linear", "one_cycle"]
_RISING, _FIRST = 0.3, 0.04  # of one cycle: share of the steps that rise, and where they begin

RESUMABLE = frozenset({"epochs", "device", "report_every", "evaluation_batch"})
"""Settings that may change when a training goes on; epochs only where nothing rests on them."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Everything about a training that is neither the data nor the objective.

    Attributes:
        epochs: Passes over the training set.
        batch_size: Rows per step.
        optimizer: "adamw" (decoupled weight decay), or "sgd" with `momentum`.
        learning_rate: Peak step size.
        weight_decay: Per step; biases and normalisation are exempt.
        momentum: Of SGD, in [0, 1).
        backbone_rate: Factor on the step size of all but the last linear layer, in [0, 1]; 0 keeps
            them as they are.
        schedule: Factor on the step size over the training; "one_cycle" rises from a 25th in the
            first three tenths of the steps and falls to nothing, and wants no `warmup`.
        warmup: Share of the steps that rise linearly from zero, in [0, 1).
        clip: Largest norm of the whole gradient; None does not clip.
        criterion: Value on the validation split that chooses the epoch: "accuracy", "loss",
            "worst_class", "worst_group" or what `validate` adds, the later of equals; "last" takes
            the last epoch.
        patience: Epochs without a value as good as the best before stopping, counted from the
            epoch that the criterion would take; None never stops early.
        precision: Of the forward pass; half precision is for GPUs. Explanation losses want
            "bfloat16": float16 scales the loss, but not the gradients inside it.
        freeze_batchnorm: Batch normalisation stays in eval mode, at the statistics that the
            network came with; right for fine-tuning a pretrained network on few rows. Objectives
            on explanations freeze it in any case.
        seed: Of the order, of every draw and of dropout.
        device: "auto" takes a GPU where there is one.
        evaluation_batch: Rows per step on the validation split; fewer where images are large.
        report_every: Steps between progress events within an epoch; 0 means none.
    """

    epochs: int = 10
    batch_size: int = 128
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    momentum: float = 0.9
    backbone_rate: float = 1.0
    schedule: _SCHEDULES = "constant"
    warmup: float = 0.0
    clip: float | None = None
    criterion: str = "accuracy"
    patience: int | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    freeze_batchnorm: bool = False
    seed: int = 0
    device: str = "auto"
    evaluation_batch: int = 512
    report_every: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.learning_rate <= 0:
            raise TrainingError(
                f"epochs {self.epochs}, batch size {self.batch_size} and learning rate "
                f"{self.learning_rate} must be positive"
            )
        if not 0.0 <= self.backbone_rate <= 1.0:
            raise TrainingError(f"backbone_rate is {self.backbone_rate}; it lies in [0, 1]")
        if self.schedule == "one_cycle" and self.warmup:
            raise TrainingError("one_cycle warms up by itself; leave warmup at 0")
        if self.schedule not in get_args(_SCHEDULES):
            raise TrainingError(
                f"schedule {self.schedule!r} is none of {', '.join(get_args(_SCHEDULES))}"
            )
        if self.freeze_batchnorm not in {True, False}:  # from a command line: "False" is true
            raise TrainingError(
                f"freeze_batchnorm is {self.freeze_batchnorm!r}, not true or false"
            )

    def chosen_device(self) -> torch.device:
        """Return the device to train on.

        Raises:
            TrainingError: If half precision would run as float16 on a CPU, which has no scaling.
        """
        name = self.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and self.precision == "float16":
            raise TrainingError("float16 needs a GPU; on a CPU use float32 or bfloat16")
        return torch.device(name)

    def judged(self, values: Mapping[str, float], epoch: int) -> float:
        """Return how good an epoch was, larger is better.

        Raises:
            TrainingError: If the criterion is none of `values`.
        """
        if self.criterion == "last":
            return float(epoch)
        if self.criterion not in values:
            raise TrainingError(
                f"criterion {self.criterion!r} is none of {', '.join(sorted(values))} or 'last'"
            )
        value = values[self.criterion]
        return -value if self.criterion.endswith("loss") else value

    def provenance(self, device: torch.device) -> dict[str, str | int | float]:
        """Return what it takes to repeat the run beside data and objective."""
        return {
            "seed": self.seed,
            "threads": torch.get_num_threads(),
            "device": str(device),
            "precision": self.precision,
            "torch": str(torch.__version__),
        }


def optimizers(
    network: nn.Module, phases: Mapping[str, float], config: TrainingConfig
) -> dict[str, torch.optim.Optimizer]:
    """Return one optimiser per phase, so that alternating phases keep their moments apart."""
    return {name: _optimizer(network, config, factor) for name, factor in phases.items()}


def learning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    """Return the factor on the peak step size at `step` of `steps`, in (0, 1]."""
    if config.schedule == "one_cycle":
        return _one_cycle(step, steps)
    warmup = int(config.warmup * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    share = (step - warmup) / max(steps - warmup, 1)
    if config.schedule == "cosine":
        return (1 + cos(pi * share)) / 2
    if config.schedule == "linear":
        return 1 - share
    return 1.0


def _one_cycle(step: int, steps: int) -> float:
    """Return the factor of one cycle: up by half a cosine, and down by another.

    References:
        Smith, Topin (2019), "Super-convergence: very fast training of neural networks using large
        learning rates", section 3.
    """
    rising = max(1, int(_RISING * steps))
    if step < rising:
        return _FIRST + (1 - _FIRST) * (1 - cos(pi * (step + 1) / (rising + 1))) / 2
    return (1 + cos(pi * (step - rising) / max(steps - rising, 1))) / 2


def _optimizer(network: nn.Module, config: TrainingConfig, factor: float) -> torch.optim.Optimizer:
    """Return an optimiser over the trainable parameters."""
    trainable = {name: each for name, each in network.named_parameters() if each.requires_grad}
    if not trainable:
        raise TrainingError("no parameter of the network is trainable")
    rate = config.learning_rate * factor
    parts = [(1.0, list(trainable.values()))]
    if config.backbone_rate < 1:
        head = f"{last_linear(network)}."
        last = [each for name, each in trainable.items() if name.startswith(head)]
        rest = [each for name, each in trainable.items() if not name.startswith(head)]
        parts = [(1.0, last), (config.backbone_rate, rest if config.backbone_rate else [])]
    groups = [
        {"params": params, "weight_decay": decay, "base_lr": rate * share}
        for share, part in parts
        for decay, params in (
            (config.weight_decay, [each for each in part if each.ndim > 1]),
            (0.0, [each for each in part if each.ndim <= 1]),
        )
    ]
    kept = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(kept, lr=rate, momentum=config.momentum)
    return torch.optim.AdamW(kept, lr=rate)
