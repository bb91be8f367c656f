"""Methods that are several trainings or a fit, and no objective of one training: by name."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from typing_extensions import override

from models import architectures
from models.architectures import Classifier
from models.errors import TrainingError
from models.training import another_explanation, groups, two_stage
from models.training.image_sets import ImageSet, split
from models.training.objectives import ERM
from models.training.optimizers import TrainingConfig
from models.training.scores import accuracies
from models.training.stages import Stages
from models.training.trainer import Event, TrainingResult


class Setting(NamedTuple):
    """What every procedure works on.

    Attributes:
        build: Returns the recipe's classifier before training, the same each time.
        training: Rows to learn from.
        validation: Rows that choose the epoch.
        config: How to train.
        stages: How the trainings are watched.
    """

    build: Callable[[], Classifier]
    training: ImageSet
    validation: ImageSet
    config: TrainingConfig
    stages: Stages


@dataclass(frozen=True)
class Outcome:
    """What a procedure ends with.

    Attributes:
        classifier: The one that it chose.
        result: How its training went.
        findings: What the procedure found on its way, as plain values.
        others: Further classifiers by name.
    """

    classifier: Classifier
    result: TrainingResult
    findings: Mapping[str, Any] = field(default_factory=dict)
    others: Mapping[str, Classifier] = field(default_factory=dict)


class Procedure(ABC):
    """A way of learning that runs trainings itself; its attributes are a recipe's options."""

    name: ClassVar[str]

    @abstractmethod
    def run(self, setting: Setting) -> Outcome:
        """Learn.

        Raises:
            TrainingError: If it cannot learn from such data.
        """


@dataclass(frozen=True)
class JustTrainTwice(Procedure):
    """JTT: see `groups.just_train_twice`.

    Attributes:
        first_epochs: T, epochs of the first training.
        upweight: Weight of the rows that it gets wrong.
    """

    first_epochs: int = 1
    upweight: float = 50.0
    name: ClassVar[str] = "jtt"

    @override
    def run(self, setting: Setting) -> Outcome:
        build, training, validation, config, stages = setting
        classifier, result = groups.just_train_twice(
            build,
            training,
            validation,
            config,
            first_epochs=self.first_epochs,
            upweight=self.upweight,
            stages=stages,
        )
        return Outcome(classifier, result)


@dataclass(frozen=True)
class DeepFeatureReweighting(Procedure):
    """DFR: ERM, then the last layer anew on group-balanced held-out rows (`groups`).

    With the validation rows held out, their accuracy after the fit is no longer that of unseen
    rows; with a part of the training rows it is, but features learn from fewer rows.

    Attributes:
        held_out: "val", or "train" for a part of the training rows.
        share: That part, in (0, 1); subjects stay together.
        features: Weights whose last layer is fitted; "" trains by the labels first.
        fits: Regressions that are averaged.
    """

    held_out: str = "val"
    share: float = 0.2
    features: str = ""
    fits: int = 20
    name: ClassVar[str] = "dfr"

    @override
    def run(self, setting: Setting) -> Outcome:
        training, held_out = self._divided(setting)
        if held_out.groups is None:
            raise TrainingError(
                "dfr balances groups, but the held-out rows name none: fill the column 'group' "
                "of the manifest"
            )
        classifier = setting.build()
        result = self._features(classifier, training, setting)
        if result.cancelled:
            return Outcome(classifier, result)
        strength = groups.refit_last_layer(
            classifier, held_out, fits=self.fits, seed=setting.config.seed
        )
        epochs = len(result.history) + 1
        fitted = Event(
            epoch=epochs,
            epochs=epochs,
            step=0,
            steps=0,
            terms={},
            validation=accuracies(classifier, setting.validation),
            stage="last layer",
        )
        return Outcome(
            classifier,
            replace(result, history=(*result.history, fitted), best_epoch=epochs),
            {"strength": strength, "held_out": self.held_out, "held_out_rows": len(held_out)},
        )

    def _features(
        self, classifier: Classifier, training: ImageSet, setting: Setting
    ) -> TrainingResult:
        """Take the given features, or learn them from the labels."""
        if self.features:
            architectures.load_weights(classifier, Path(self.features))
            return TrainingResult((), 0, "features", cancelled=False)
        return setting.stages.train(
            "features",
            classifier,
            ERM(),
            training=training,
            validation=setting.validation,
            config=setting.config,
        )

    def _divided(self, setting: Setting) -> tuple[ImageSet, ImageSet]:
        """Return the rows for the features and those for the last layer."""
        if self.held_out == "val":
            return setting.training, setting.validation
        if self.held_out != "train" or not 0 < self.share < 1:
            raise TrainingError(
                f"dfr: held_out is {self.held_out!r} with share {self.share}, needed is 'val', "
                "or 'train' with a share between 0 and 1"
            )
        shares = {"features": 1 - self.share, "held out": self.share}
        parts = split(setting.training, shares, seed=setting.config.seed)
        return parts["features"], parts["held out"]


@dataclass(frozen=True)
class FindAnotherExplanation(Procedure):
    """Classifiers that look elsewhere in turn: see `another_explanation`.

    Attributes:
        rounds: How many at most.
        weight: λ of the penalty on what earlier rounds used.
        cut: Share of an example's largest gradient above which a pixel counts as used.
        tolerance: Accuracy that a round may lose against the first before the rounds end.
        least: Share of the used pixels that must be other ones, or the rounds end.
        take: Round whose classifier is the result; 0 takes the last that lost no accuracy.
    """

    rounds: int = 3
    weight: float = 10.0
    cut: float = 0.67
    tolerance: float = 0.05
    least: float = 0.1
    take: int = 0
    name: ClassVar[str] = "find_another_explanation"

    @override
    def run(self, setting: Setting) -> Outcome:
        build, training, validation, config, stages = setting
        found = another_explanation.find_another_explanation(
            build,
            training,
            validation,
            config,
            rounds=self.rounds,
            weight=self.weight,
            cut=self.cut,
            tolerance=self.tolerance,
            least=self.least,
            stages=stages,
        )
        if found[-1].result.cancelled:
            return Outcome(found[-1].classifier, found[-1].result)
        if self.take > len(found):
            raise TrainingError(
                f"find_another_explanation ended after round {len(found)}: there is no round "
                f"{self.take} to take"
            )
        chosen = (
            self.take or another_explanation.last_accurate(found, tolerance=self.tolerance) + 1
        )
        rounds = [
            {"forbidden": each.forbidden, "accuracy": each.accuracy, "other": each.other}
            for each in found
        ]
        others = {f"round-{number}": each.classifier for number, each in enumerate(found, start=1)}
        taken = found[chosen - 1]
        return Outcome(taken.classifier, taken.result, {"rounds": rounds, "taken": chosen}, others)


@dataclass(frozen=True)
class TwoStageMapping(Procedure):
    """Tao and Shokri's two stages: see `two_stage`; their mapping is folded in at the end.

    Attributes:
        variant: "mapping", or one of the ablations "without" and "joint".
        label_steps: Steps by the labels in turn.
        mapping_steps: Steps of the second stage in turn.
        factor: Rate of the second stage relative to the first.
        weight: Of the second loss, "joint" only.
    """

    variant: two_stage.Variant = "mapping"
    label_steps: int = 1
    mapping_steps: int = 1
    factor: float = 0.3
    weight: float = 1.0
    name: ClassVar[str] = two_stage.TwoStage.name

    @override
    def run(self, setting: Setting) -> Outcome:
        if not setting.training.masks(np.arange(len(setting.training)))[1].any():
            raise TrainingError(f"{self.name} needs masks of what must not matter: no row has one")
        objective = two_stage.TwoStage(
            self.variant, self.label_steps, self.mapping_steps, self.factor, self.weight
        )
        classifier = setting.build()
        if self.variant != "without":
            classifier = two_stage.with_mapping(classifier)
        result = setting.stages.train(
            "two stages",
            classifier,
            objective,
            training=setting.training,
            validation=setting.validation,
            config=setting.config,
        )
        if self.variant != "without":
            classifier = two_stage.folded(classifier)
        return Outcome(classifier, result)


BY_NAME: Mapping[str, type[Procedure]] = {
    each.name: each
    for each in (
        JustTrainTwice,
        DeepFeatureReweighting,
        FindAnotherExplanation,
        TwoStageMapping,
    )
}
