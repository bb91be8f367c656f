"""The one training loop: it knows an `Objective`, never an explanation.

Every draw depends on the seed and the step alone, so a training that is interrupted and resumed
from its checkpoint takes the very steps that it would have taken without the interruption.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from models.architectures import Classifier
from models.errors import LossNotFiniteError
from models.modes import training_mode, unmeasured
from models.training import checkpoints
from models.training.batches import batch_of, epoch_order
from models.training.image_sets import ImageSet
from models.training.objectives import LossModule, Moment, Objective
from models.training.optimizers import TrainingConfig, learning_rate, optimizers
from models.training.scores import accuracies, answers


@dataclass(frozen=True, slots=True)
class Event:
    """What a training reports after each epoch, and on request after each step.

    Attributes:
        epoch: Counts from 1; the epoch that was just finished, or is running.
        epochs: Epochs planned.
        step: Steps taken so far.
        steps: Steps planned.
        terms: Mean of each loss term since the epoch began, over the steps that had it, and
            "total", over all steps.
        validation: Values on the validation split; None between epochs.
        stage: Which training, where a method runs several in turn; "" where it runs one.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    terms: Mapping[str, float]
    validation: Mapping[str, float] | None = None
    stage: str = ""


Progress: TypeAlias = Callable[[Event], None]
Validate: TypeAlias = Callable[[Classifier], Mapping[str, float]]


@dataclass(frozen=True)
class TrainingResult:
    """How a training went; the network itself holds the chosen weights.

    Attributes:
        history: One event per finished epoch.
        best_epoch: Epoch whose weights the network holds, counting from 1.
        criterion: What chose that epoch, as configured.
        collapsed: What is wrong with the chosen weights: that they give every validation image
            the same class; "" where they do not.
        cancelled: Whether it was stopped from outside; the weights are then the best so far.
        provenance: Seed, threads, device, versions: what it takes to repeat the run.
    """

    history: tuple[Event, ...]
    best_epoch: int
    criterion: str
    cancelled: bool
    provenance: Mapping[str, str | int | float] = field(default_factory=dict)
    collapsed: str = ""


def train(
    network: Classifier,
    objective: Objective,
    training: ImageSet,
    validation: ImageSet,
    config: TrainingConfig,
    *,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
    validate: Validate | None = None,
    checkpoint: Path | None = None,
) -> TrainingResult:
    """Train `network` in place and leave the weights of the best epoch in it.

    Warns where batch normalisation is frozen that has never seen an image.

    Args:
        network: What to train; it is moved to the configured device and stays there.
        objective: What to minimise.
        training: Rows to learn from.
        validation: Rows that choose the epoch; never the test split.
        config: Optimiser, schedule, epochs, criterion, seed, device.
        progress: Told after every epoch, and every `config.report_every` steps.
        should_stop: Asked before every step; true ends the training.
        validate: More values per epoch, by which `config.criterion` may choose.
        checkpoint: Folder to write to after every epoch and to resume from if it holds one.

    Raises:
        TrainingError: If the method cannot run on the network.
        LossNotFiniteError: If the loss is not finite at some step.
    """
    device = config.chosen_device()
    network.to(device)
    depthwise = _is_depthwise(network)
    if depthwise:
        network.to(memory_format=torch.channels_last)
    objective.check(
        network,
        batch_of(training, epoch_order(len(training), seed=0, epoch=0)[:2]).on(device).images,
    )
    objective.begin(network, training)
    _warn_of_statistics(network, objective, config)
    run = _Run(network, objective, training, validation, config=config, device=device)
    run.validate = validate
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if checkpoint is not None:
            run.resume(checkpoint)
        cancelled = run.epochs(progress, should_stop, checkpoint)
    if run.best is not None:
        network.load_state_dict(run.best)
    if depthwise:
        network.to(memory_format=torch.contiguous_format)
    return TrainingResult(
        history=tuple(run.history),
        best_epoch=run.best_epoch,
        criterion=config.criterion,
        cancelled=cancelled,
        provenance=config.provenance(device),
        collapsed=run.collapsed(),
    )


def _is_depthwise(network: nn.Module) -> bool:
    """Whether convolutions run over single channels: they are faster where channels come last."""
    return any(each.groups > 1 for each in network.modules() if isinstance(each, nn.Conv2d))


def _warn_of_statistics(network: Classifier, objective: Objective, config: TrainingConfig) -> None:
    """Warn before training if statistics are frozen that were never measured."""
    names = unmeasured(network)
    if names and (objective.freezes_batchnorm or config.freeze_batchnorm):
        by = objective.name if objective.freezes_batchnorm else "freeze_batchnorm"
        warnings.warn(
            f"{by} keeps batch normalisation at its statistics, but {len(names)} of them have "
            f"never seen an image ({names[0]} …): they stay at mean 0 and variance 1. Begin with "
            "trained weights, for example of a training with erm",
            stacklevel=3,
        )


class _Run:
    """The state of one training: what a checkpoint holds."""

    def __init__(
        self,
        network: Classifier,
        objective: Objective,
        training: ImageSet,
        validation: ImageSet,
        *,
        config: TrainingConfig,
        device: torch.device,
    ) -> None:
        self.network, self.objective, self.config, self.device = network, objective, config, device
        self.training, self.validation = training, validation
        self.step_module = LossModule(network, objective)
        self.optimizers = optimizers(network, objective.phases, config)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
        self.validate: Validate | None = None
        self.identity: dict[str, str] = {}
        self.history: list[Event] = []
        self.best: dict[str, Tensor] | None = None
        self.best_epoch, self.best_value, self.step = 0, float("-inf"), 0

    def collapsed(self) -> str:
        """Return what is wrong with the network as it stands; "" where nothing is."""
        best = self.history[self.best_epoch - 1].validation if self.best_epoch else None
        if best is None or best["worst_class"] > 0 or len(np.unique(self.validation.labels)) == 1:
            return ""
        found = answers(self.network, self.validation, self.config.evaluation_batch)
        decided = np.unique(found.logits.argmax(axis=1))
        if len(decided) > 1:
            return ""
        return (
            f"the training collapsed: every validation image is "
            f"{self.validation.classes[decided[0]]!r}; a lower learning_rate, schedule=one_cycle "
            "and clip=1 help"
        )

    @property
    def per_epoch(self) -> int:
        """Steps in one epoch."""
        return -(-len(self.training) // self.config.batch_size)

    def resume(self, folder: Path) -> None:
        """Take up the run that `folder` holds, if any."""
        self.identity = checkpoints.identity_of(self.objective, self.training)
        saved = checkpoints.load(folder, self.device)
        if saved is None:
            return
        saved.refuse_other(
            self.config, self.identity, planned_length=self.objective.planned_length
        )
        self.network.load_state_dict(saved.network)
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(saved.optimizers[name])
        if saved.scaler and self.scaler.is_enabled():
            self.scaler.load_state_dict(saved.scaler)
        self.objective.restore(saved.objective)
        self.best, self.best_epoch, self.best_value = saved.best, saved.best_epoch, saved.value
        self.history = [Event(**event) for event in saved.history]
        self.step = len(self.history) * self.per_epoch

    def epochs(
        self,
        progress: Progress | None,
        should_stop: Callable[[], bool] | None,
        checkpoint: Path | None,
    ) -> bool:
        """Run the remaining epochs; return whether they were cancelled."""
        for epoch in range(len(self.history), self.config.epochs):
            if self._patience_spent():
                return False
            seen: dict[str, list[float]] = {}
            for done, moment in enumerate(self._moments(epoch), start=1):
                if should_stop is not None and should_stop():
                    return True
                for name, value in self._step(moment, done - 1).items():
                    seen.setdefault(name, []).append(value)
                if progress and self.config.report_every and done % self.config.report_every == 0:
                    progress(self._event(epoch, _means(seen)))
            self._finish(epoch, _means(seen), checkpoint)
            if progress:
                progress(self.history[-1])
        return False

    def _moments(self, epoch: int) -> Iterator[Moment]:
        """Yield the moments of one epoch, and set out its order of rows."""
        self._order = epoch_order(len(self.training), seed=self.config.seed, epoch=epoch)
        for _ in range(self.per_epoch):
            yield Moment(self.step, epoch, self.config.epochs, self.config.seed)
            self.step += 1

    def _step(self, moment: Moment, position: int) -> dict[str, float]:
        """Take one optimiser step; return the loss terms."""
        size = self.config.batch_size
        batch = batch_of(self.training, self._order[position * size : (position + 1) * size])
        batch = batch.on(self.device)
        if self.objective.skips(batch, moment):
            return {"total": 0.0}
        optimizer = self.optimizers[self.objective.phase(moment)]
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * learning_rate(
                self.config, moment.step, self.per_epoch * self.config.epochs
            )
        torch.manual_seed(self.config.seed * 1_000_003 + moment.step)  # dropout
        frozen = self.objective.freezes_batchnorm or self.config.freeze_batchnorm
        with training_mode(self.network, freeze_batchnorm=frozen), self._autocast():
            loss = self.step_module(batch, moment)
        if not bool(torch.isfinite(loss.total)):
            value = float(loss.total.detach())
            raise LossNotFiniteError(
                f"the loss of {self.objective.name} is {value} at step {moment.step}"
            )
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss.total).backward()
        if self.config.clip is not None:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        self.scaler.step(optimizer)
        self.scaler.update()
        terms = {name: float(value) for name, value in loss.terms.items()}
        return terms | {"total": float(loss.total.detach())}

    def _autocast(self) -> torch.autocast:
        kinds = {"float16": torch.float16, "bfloat16": torch.bfloat16}
        kind = kinds.get(self.config.precision)
        return torch.autocast(self.device.type, dtype=kind, enabled=kind is not None)

    def _finish(self, epoch: int, terms: Mapping[str, float], checkpoint: Path | None) -> None:
        """Validate, keep the best weights, write the checkpoint."""
        values = dict(accuracies(self.network, self.validation, self.config.evaluation_batch))
        if self.validate is not None:
            values |= self.validate(self.network)
        value = self.config.judged(values, epoch)
        self.history.append(self._event(epoch, terms, values))
        if value >= self.best_value:  # of equals the later: it has learnt longer
            state = self.network.state_dict()
            self.best = {name: each.detach().clone() for name, each in state.items()}
            self.best_epoch, self.best_value = epoch + 1, value
        if checkpoint is not None:
            checkpoints.save(
                checkpoint,
                network=self.network,
                optimizers=self.optimizers,
                scaler=self.scaler,
                objective=self.objective,
                identity=self.identity,
                best=self.best or {},
                best_epoch=self.best_epoch,
                value=self.best_value,
                history=self.history,
                config=self.config,
            )

    def _event(
        self, epoch: int, terms: Mapping[str, float], values: Mapping[str, float] | None = None
    ) -> Event:
        steps = self.per_epoch * self.config.epochs
        return Event(epoch + 1, self.config.epochs, self.step, steps, dict(terms), values)

    def _patience_spent(self) -> bool:
        if self.config.patience is None:
            return False
        return len(self.history) - self.best_epoch >= self.config.patience


def _means(seen: Mapping[str, list[float]]) -> dict[str, float]:
    """Return the mean of each term over the steps that had it."""
    return {name: sum(values) / len(values) for name, values in seen.items()}
