"""From a recipe to a trained classifier: data, network, weight of the explanation, training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from models import architectures, imagenet
from models.architectures import Classifier
from models.errors import TrainingError
from models.training import datasets, methods
from models.training.balance import balance
from models.training.distillation import TEA, masked_images, same_images
from models.training.image_sets import ImageSet
from models.training.objectives import Objective
from models.training.recipes import Recipe
from models.training.trainer import Progress, TrainingResult, train
from models.types import ClassifierSpec

IMAGENET = "imagenet"
_VIEWS = {"masked": masked_images, "same": same_images}


@dataclass(frozen=True)
class Trained:
    """What came out of a recipe.

    Attributes:
        classifier: With the weights of the chosen epoch, in eval mode on the CPU.
        result: How the training went.
        recipe: As it was run, with the weight that the ratio rule found.
        splits: The sets: "train", "val" and, where there is one, "test".
    """

    classifier: Classifier
    result: TrainingResult
    recipe: Recipe
    splits: Mapping[str, ImageSet]


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
    sets = dict(splits) if splits is not None else read_splits(recipe)
    training, validation = sets["train"], sets.get("val")
    if validation is None:
        raise TrainingError(f"{recipe.data} has no split 'val' to choose the epoch by")
    classifier = build(recipe, training.classes)
    objective = objective_of(recipe, training.classes)
    if recipe.balance is not None:
        recipe, objective = _balanced(recipe, objective, classifier, training)
    result = train(
        classifier,
        objective,
        training,
        validation,
        recipe.training,
        progress=progress,
        should_stop=should_stop,
        checkpoint=checkpoint,
    )
    return Trained(classifier.cpu().eval(), result, recipe, sets)


def read_splits(recipe: Recipe) -> dict[str, ImageSet]:
    """Read the recipe's data, prepared for its architecture."""
    entries = datasets.read_folder(Path(recipe.data))
    classes = sorted({each.label for each in entries})
    preprocessing = _spec(recipe, classes).preprocessing
    return datasets.load_splits(entries, preprocessing, seed=recipe.training.seed)


def build(recipe: Recipe, classes: tuple[str, ...]) -> Classifier:
    """Return the recipe's classifier before training; the seed fixes fresh weights.

    Raises:
        TrainingError: If the weights cannot be read.
    """
    state: Mapping[str, Tensor] | None = None
    if recipe.weights == IMAGENET:
        state = imagenet.imagenet_classifier().network.state_dict()
    elif recipe.weights:
        if not Path(recipe.weights).is_file():
            raise TrainingError(f"there are no weights at {recipe.weights}")
        state = load_file(recipe.weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        return architectures.build(_spec(recipe, classes), pretrained_state=state)


def objective_of(recipe: Recipe, classes: tuple[str, ...]) -> Objective:
    """Return the recipe's objective.

    For "tea" the options name the `teacher`, a safetensors file of the recipe's architecture, and
    its `view`: "masked" shows it images whose irrelevant pixels are black, "same" the images as
    they are, for a teacher that learnt without the cue.

    Raises:
        TrainingError: If a name is unknown, or the teacher is missing.
    """
    if recipe.objective != TEA.name:
        return methods.objective(recipe.objective, recipe.options)
    options = dict(recipe.options)
    teacher, view = str(options.pop("teacher", "")), options.pop("view", "masked")
    if view not in _VIEWS:
        raise TrainingError(f"view {view!r} is none of {', '.join(_VIEWS)}")
    if options:
        raise TrainingError(f"tea has no option {min(options)!r}; it has teacher, view")
    if not teacher:
        raise TrainingError("tea needs a teacher: --option teacher=weights.safetensors")
    taught = build(replace(recipe, weights=teacher), classes)
    return TEA(taught.eval(), view=_VIEWS[view])


def _spec(recipe: Recipe, classes: list[str] | tuple[str, ...]) -> ClassifierSpec:
    if recipe.head not in {"linear", "hidden256"}:
        raise TrainingError(f"head {recipe.head!r} is neither 'linear' nor 'hidden256'")
    return architectures.default_spec(
        recipe.architecture,
        classes,
        head="hidden256" if recipe.head == "hidden256" else "linear",
        height=recipe.height,
        width=recipe.width,
    )


def _balanced(
    recipe: Recipe, objective: Objective, classifier: Classifier, training: ImageSet
) -> tuple[Recipe, Objective]:
    """Find the weight; the recipe that is returned names it instead of the rule."""
    rule = dict(recipe.balance or {})
    found = balance(objective, classifier, training, recipe.training, **rule)
    weight = float(vars(found)["weight"])
    options = {**recipe.options, "weight": weight}
    return replace(recipe, options=options, balance=None), found
