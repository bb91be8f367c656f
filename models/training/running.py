"""From a recipe to a trained classifier: data, network, weight of the explanation, training."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models.architectures import Classifier
from models.errors import TrainingError
from models.training import (
    building,
    methods,
    options,
    procedures,
    recipes,
    strengths,
    teaching,
)
from models.training.balance import balance
from models.training.exemplary import ExemplaryLearning
from models.training.image_sets import ImageSet
from models.training.objectives import Objective
from models.training.procedures import Outcome, Setting
from models.training.recipes import Recipe
from models.training.stages import Stages
from models.training.trainer import Progress, TrainingResult, train

NAMES = (*methods.BY_NAME, *teaching.BY_NAME, *procedures.BY_NAME)
"""Every way of learning that a recipe can name."""

_BALANCED = "balance.json"


@dataclass(frozen=True)
class Trained:
    """What came out of a recipe.

    Attributes:
        classifier: With the weights of the chosen epoch, in eval mode on the CPU.
        result: How the training went.
        recipe: As it was run, with the weight that the ratio rule found.
        splits: The sets: "train", "val" and, where there is one, "test".
        findings: What the method found on its way, as plain values: exemplars, rounds.
        others: Further classifiers by name, for example of earlier rounds.
    """

    classifier: Classifier
    result: TrainingResult
    recipe: Recipe
    splits: Mapping[str, ImageSet]
    findings: Mapping[str, Any] = field(default_factory=dict)
    others: Mapping[str, Classifier] = field(default_factory=dict)


def run(
    recipe: Recipe,
    *,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
    checkpoint: Path | None = None,
    splits: Mapping[str, ImageSet] | None = None,
) -> Trained:
    """Train as a recipe says.

    Args:
        recipe: What to do.
        progress: Told after every epoch and some steps.
        should_stop: Asked before every step.
        checkpoint: Folder to write to after every epoch, and to resume from.
        splits: The sets, if they have been read already.

    Raises:
        DatasetError: If the data cannot be used.
        TrainingError: If the method cannot run on the architecture, or the loss is not finite.
    """
    recipe = replace(recipe, objective=methods.current(recipe.objective))
    if recipe.objective not in NAMES:
        raise TrainingError(f"objective {recipe.objective!r} is none of {', '.join(NAMES)}")
    sets = dict(splits) if splits is not None else building.read_splits(recipe)
    stages = Stages(progress, should_stop, checkpoint)
    if recipe.objective in procedures.BY_NAME:
        outcome = _by_procedure(recipe, sets, stages)
    else:
        recipe, outcome = _by_objective(recipe, sets, stages)
    return Trained(
        outcome.classifier.cpu().eval(),
        outcome.result,
        recipe,
        sets,
        outcome.findings,
        {name: each.cpu().eval() for name, each in outcome.others.items()},
    )


def _by_procedure(recipe: Recipe, sets: Mapping[str, ImageSet], stages: Stages) -> Outcome:
    """Run a method of several trainings."""
    if recipe.balance is not None:
        raise TrainingError(f"{recipe.objective} has no weight to balance")
    chosen = options.made(procedures.BY_NAME[recipe.objective], recipe.objective, recipe.options)
    training, validation = building.training_and_validation(recipe, sets)
    return chosen.run(
        Setting(
            lambda: building.build(recipe, training.classes),
            training,
            validation,
            recipe.training,
            stages,
        )
    )


def _by_objective(
    recipe: Recipe, sets: Mapping[str, ImageSet], stages: Stages
) -> tuple[Recipe, Outcome]:
    """Train once with an objective; return the recipe as it was run too."""
    training, validation = building.training_and_validation(recipe, sets)
    classifier = building.build(recipe, training.classes)
    if recipe.objective in teaching.BY_NAME:
        objective = teaching.objective_of(recipe, sets, stages)
    else:
        objective = methods.objective(recipe.objective, recipe.options)
    if recipe.balance is not None:
        recipe, objective = _balanced(recipe, objective, classifier, training, stages=stages)
    result = train(
        classifier,
        objective,
        training,
        validation,
        recipe.training,
        progress=stages.progress,
        should_stop=stages.should_stop,
        checkpoint=stages.checkpoint,
    )
    return recipe, Outcome(classifier, result, _findings(objective))


def _findings(objective: Objective) -> dict[str, Any]:
    """Return what an objective chose before training, with its provenance."""
    if not isinstance(objective, ExemplaryLearning):
        return {}
    exemplars = {
        kind: {
            "image": each.identifier,
            "activation_recall": None if math.isnan(each.recall) else round(each.recall, 6),
            "explainer": "gradcam",
            "chosen_by": each.chosen_by,
        }
        for kind, each in (("good", objective.good), ("bad", objective.bad))
        if each is not None
    }
    return {**exemplars, "margin": round(objective.in_force, 6)}


def _balanced(
    recipe: Recipe,
    objective: Objective,
    classifier: Classifier,
    training: ImageSet,
    *,
    stages: Stages,
) -> tuple[Recipe, Objective]:
    """Find the weight (robust methods: of the gradient); the recipe names it in the rule's place.

    A training that goes on takes the weight that it began with.
    """
    name = strengths.balanced(vars(objective)) or "weight"
    noted = None if stages.checkpoint is None else stages.checkpoint / _BALANCED
    former = None if noted is None else recipes.remembered(noted, recipe, data=training.digest)
    if former is not None:
        kept = {name: former.options[name]}
        return former, replace(objective, **kept)  # type: ignore[type-var]  # a dataclass
    rule = dict(recipe.balance or {})
    found = balance(
        objective, classifier, training, recipe.training, should_stop=stages.should_stop, **rule
    )
    changed = {**recipe.options, name: float(vars(found)[name])}
    balanced = replace(recipe, options=changed, balance=None)
    stopped = stages.should_stop is not None and stages.should_stop()
    if noted is not None and not stopped:
        recipes.remember(noted, recipe, balanced, data=training.digest)
    return balanced, found
