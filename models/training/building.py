"""What a recipe begins with: data prepared for its architecture, an untrained classifier."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models import architectures, imagenet
from models.architectures import Classifier
from models.errors import TrainingError
from models.training import datasets, imports
from models.training.image_sets import ImageSet
from models.training.left_out import LeftOut
from models.training.recipes import IMAGENET, Recipe
from models.types import ClassifierSpec


def read_splits(recipe: Recipe, *, left: LeftOut | None = None) -> dict[str, ImageSet]:
    """Read the recipe's data, prepared for its architecture; `left` as for `read_data`."""
    entries = imports.read_data(Path(recipe.data), left=left)
    classes = sorted({each.label for each in entries})
    preprocessing = spec_of(recipe, classes).preprocessing
    return datasets.load_splits(entries, preprocessing, seed=recipe.training.seed, left=left)


def training_and_validation(
    recipe: Recipe, splits: Mapping[str, ImageSet]
) -> tuple[ImageSet, ImageSet]:
    """Return the rows to learn from and the rows that choose the epoch.

    Raises:
        TrainingError: If there is no validation split.
    """
    if "val" not in splits:
        raise TrainingError(f"{recipe.data} has no split 'val' to choose the epoch by")
    return splits["train"], splits["val"]


def build(recipe: Recipe, classes: tuple[str, ...]) -> Classifier:
    """Return the recipe's classifier before training; the seed fixes fresh weights.

    Raises:
        TrainingError: If the weights cannot be read.
    """
    state = first_weights(recipe.weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        return architectures.build(spec_of(recipe, classes), pretrained_state=state)


def first_weights(name: str) -> Mapping[str, Tensor] | None:
    """Return the weights that a training begins with; None for fresh ones.

    Args:
        name: "" for fresh weights, "imagenet" for the published ones, or a file of weights.

    Raises:
        TrainingError: If there is no such file, or it cannot be read.
    """
    if name == IMAGENET:
        return imagenet.imagenet_classifier().network.state_dict()
    if not name:
        return None
    if not Path(name).is_file():
        raise TrainingError(f"there are no weights at {name}")
    try:
        return load_file(name)
    except SafetensorError as error:
        raise TrainingError(f"{name} is no safetensors file: {error}") from error


def spec_of(recipe: Recipe, classes: list[str] | tuple[str, ...]) -> ClassifierSpec:
    """Return the spec of the recipe's classifier.

    Raises:
        TrainingError: If the head is unknown.
    """
    if recipe.head not in {"linear", "hidden256"}:
        raise TrainingError(f"head {recipe.head!r} is neither 'linear' nor 'hidden256'")
    return architectures.default_spec(
        recipe.architecture,
        classes,
        head="hidden256" if recipe.head == "hidden256" else "linear",
        height=recipe.height,
        width=recipe.width,
    )
