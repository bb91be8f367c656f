"""The teachers of TEA and e2KD: given, or trained first on images that do not show the cue.

Three kinds of teacher, after Bassi, Decherchi, Cavalli (2024), arXiv:2407.09788:

masked      a classifier of images whose irrelevant pixels are black, by the data's own masks
segmented   the same with the masks of a segmenter, so that the data need have none
same        a classifier that learnt without the cue and sees the images as they are
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.architectures import Classifier
from models.errors import TrainingError
from models.training import building, options, segmenting
from models.training.distillation import TEA, TeacherView, masked_images, other_rows, same_images
from models.training.e2kd import E2KD
from models.training.image_sets import ImageSet
from models.training.objectives import ERM, Objective
from models.training.recipes import Recipe
from models.training.stages import Stages

BY_NAME: Mapping[str, type[TEA | E2KD]] = {each.name: each for each in (TEA, E2KD)}
_VIEWS = ("masked", "segmented", "same")


@dataclass(frozen=True, slots=True)
class Teaching:
    """How the teacher comes about: options of a recipe.

    Attributes:
        teacher: Its weights, of the recipe's architecture; "" trains it first.
        view: What it sees: "masked", "segmented" or "same".
        segmenter: ONNX file that marks the relevant part; for "segmented".
        unbiased: Folder of images without the cue, same classes; what a teacher that sees the
            same images is trained on.
    """

    teacher: str = ""
    view: str = "masked"
    segmenter: str = ""
    unbiased: str = ""

    def __post_init__(self) -> None:
        if self.view not in _VIEWS:
            raise TrainingError(f"view {self.view!r} is none of {', '.join(_VIEWS)}")
        if (self.view == "segmented") != bool(self.segmenter):
            raise TrainingError(
                "the view 'segmented' and a segmenter go together: "
                "--option view=segmented --option segmenter=FILE.onnx"
            )
        if self.view == "same" and bool(self.teacher) == bool(self.unbiased):
            raise TrainingError(
                "a teacher that sees the same images needs to have learnt without the cue: give "
                "either teacher=weights.safetensors or unbiased=FOLDER to train it on"
            )
        if self.view != "same" and self.unbiased:
            raise TrainingError("unbiased data is for a teacher with --option view=same")


def objective_of(recipe: Recipe, splits: Mapping[str, ImageSet], stages: Stages) -> Objective:
    """Return TEA or e2KD with its teacher, which is trained here where none is given.

    Raises:
        TrainingError: If an option is unknown, or the teacher cannot come about.
    """
    kind = BY_NAME[recipe.objective]
    about = {key: each for key, each in recipe.options.items() if key in options.names(Teaching)}
    rest = {key: each for key, each in recipe.options.items() if key not in about}
    unknown = sorted(rest.keys() - set(options.names(kind)))
    if unknown:
        listed = ", ".join([*options.names(Teaching), *options.names(kind)])
        raise TrainingError(f"{recipe.objective} has no option {unknown[0]!r}; it has {listed}")
    plan = options.made(Teaching, recipe.objective, about)
    training, _ = building.training_and_validation(recipe, splits)
    view, shown = _shown(plan, splits)
    if plan.teacher:
        teacher = building.build(replace(recipe, weights=plan.teacher), training.classes)
    else:
        teacher = _trained(recipe, _unbiased(recipe, plan, training) or shown, stages)
    return options.made(kind, recipe.objective, rest, teacher=teacher.eval(), view=view)


def blackened(rows: ImageSet) -> ImageSet:
    """Return the rows with their irrelevant pixels black.

    Raises:
        TrainingError: If no row has a mask.
    """
    _, irrelevant = rows.masks(np.arange(len(rows)))
    if not irrelevant.any():
        raise TrainingError(
            "the teacher sees images whose irrelevant pixels are black, but no row marks any: "
            "add masks, or give a segmenter, or a teacher with --option view=same"
        )
    return replace(rows, images=np.where(irrelevant[..., None], 0, rows.images))


def _shown(
    plan: Teaching, splits: Mapping[str, ImageSet]
) -> tuple[TeacherView, Mapping[str, ImageSet]]:
    """Return what the teacher sees of a batch, and the sets it would be trained on."""
    if plan.view == "same":
        return same_images, {}
    used = {name: splits[name] for name in ("train", "val")}
    if plan.view == "segmented":
        marked = segmenting.marked(used, Path(plan.segmenter))
        shown = {name: blackened(rows) for name, rows in marked.items()}
        return other_rows(shown["train"]), shown
    return masked_images, {name: blackened(rows) for name, rows in used.items()}


def _unbiased(recipe: Recipe, plan: Teaching, training: ImageSet) -> Mapping[str, ImageSet] | None:
    """Read the data set without the cue, where one is given."""
    if not plan.unbiased:
        return None
    found = building.read_splits(replace(recipe, data=plan.unbiased))
    if found["train"].classes != training.classes:
        raise TrainingError(
            f"{plan.unbiased} has the classes {list(found['train'].classes)}, needed are "
            f"{list(training.classes)}"
        )
    return found


def _trained(recipe: Recipe, splits: Mapping[str, ImageSet], stages: Stages) -> Classifier:
    """Train a teacher by its labels, from other fresh weights than the student's."""
    rows, validation = building.training_and_validation(recipe, splits)
    config = replace(recipe.training, seed=recipe.training.seed + 1)
    teacher = building.build(replace(recipe, training=config), rows.classes)
    stages.train("teacher", teacher, ERM(), training=rows, validation=validation, config=config)
    return teacher.cpu()
