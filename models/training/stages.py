"""Trainings that follow each other in one method: watched as one, resumed each by itself."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from models.architectures import Classifier
from models.training.image_sets import ImageSet
from models.training.objectives import Objective
from models.training.optimizers import TrainingConfig
from models.training.trainer import Event, Progress, TrainingResult, train


@dataclass(frozen=True, slots=True)
class Stages:
    """How each stage of a method is watched, ended and resumed.

    Attributes:
        progress: Told of every stage's events, which carry its name.
        should_stop: Asked before every step; true ends the stage.
        checkpoint: Folder with one checkpoint per stage, named as it is; None writes none.
    """

    progress: Progress | None = None
    should_stop: Callable[[], bool] | None = None
    checkpoint: Path | None = None

    def train(
        self,
        stage: str,
        network: Classifier,
        objective: Objective,
        *,
        training: ImageSet,
        validation: ImageSet,
        config: TrainingConfig,
    ) -> TrainingResult:
        """Train one stage as `trainer.train` does; its events carry the name `stage`."""
        told = self.progress

        def named(event: Event) -> None:
            if told is not None:
                told(replace(event, stage=stage))

        return train(
            network,
            objective,
            training,
            validation,
            config,
            progress=named,
            should_stop=self.should_stop,
            checkpoint=None if self.checkpoint is None else self.checkpoint / stage,
        )
