"""The tasks: what is learnt, by which network, how long; everything a cell's recipe names."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from models import architectures, imagenet
from models.architectures import Classifier
from models.training import datasets, digits, generators, networks, toys
from models.training.image_sets import ImageSet
from models.training.optimizers import TrainingConfig
from models.training.planting import Planting, plant
from models.training.tasks import Task
from models.types import Preprocessing


@dataclass(frozen=True)
class Plan:
    """One task of the benchmark.

    Attributes:
        title: What it is.
        rows: Training rows of the source before validation is held out; 0 for all.
        test: Test rows; 0 for all.
        network: Name in `models.training.networks`, or "pretrained".
        config: How every method is trained; the last epoch is taken, so selection sees nothing.
        judged: The test set that the table's accuracy and worst class are of.
        make: Builds the task from rows, test and seed.
    """

    title: str
    rows: int
    test: int
    network: str
    config: TrainingConfig
    judged: str
    make: Callable[["Plan", Path, int], Task]

    def quick(self) -> "Plan":
        """Return the same task small enough to run in seconds."""
        rows = min(self.rows or 1000, 1000)
        few = replace(self.config, epochs=min(self.config.epochs, 4), batch_size=64)
        return replace(self, rows=rows, test=min(self.test or 500, 500), config=few)


def classifier(plan: Plan, task: Task, seed: int) -> Classifier:
    """Return a fresh classifier for a task; the seed fixes its weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if plan.network == "pretrained":
            return _pretrained(task.training.classes)
        return architectures.build(networks.spec(plan.network, task.training.classes))


def _pretrained(classes: tuple[str, ...]) -> Classifier:
    """Return EfficientNet-Lite0 with ImageNet weights and a fresh last layer, at 128×128."""
    state = imagenet.imagenet_classifier().network.state_dict()
    spec = architectures.default_spec("efficientnet_lite0", classes, height=_SIDE, width=_SIDE)
    return architectures.build(spec, pretrained_state=state)


def _digits(plan: Plan, _data: Path, seed: int) -> digits.GreySource:
    return digits.five_thousand_digits(seed=seed).some(plan.rows, plan.test, seed=seed)


def _mnist(plan: Plan, data: Path, seed: int) -> digits.GreySource:
    return digits.mnist(data / "mnist" / "mnist.npz").some(plan.rows, plan.test, seed=seed)


def _fashion(plan: Plan, _data: Path, seed: int) -> digits.GreySource:
    return digits.fashion_mnist().some(plan.rows, plan.test, seed=seed)


def _colours(plan: Plan, _data: Path, seed: int) -> Task:
    return toys.toy_colours(train=plan.rows, test=plan.test, seed=seed)


def _iris(_plan: Plan, _data: Path, seed: int) -> Task:
    return toys.iris_cancer(seed=seed)


def _stickers(_plan: Plan, data: Path, _seed: int) -> Task:
    """ISIC 2017 as it is: stickers beside nevi only; groups are class × sticker."""
    sets = _real(data / "isic2017")
    parts = {name: _by_class(rows) for name, rows in sets.items()}
    test = parts["test"]
    filled = _filled(test)
    tests = {"correlated": test, "blanked": filled, "random": _swapped(test)}
    return Task("D-isic", parts["train"], parts["val"], tests, _filled(parts["train"]))


def _planted(name: str) -> Callable[[Plan, Path, int], Task]:
    """Return the maker of a real set with a marker that tells the label in training only."""

    def make(_plan: Plan, data: Path, seed: int) -> Task:
        sets = _real(data / name)
        cue = Planting("marker", seed=seed)
        tests = {
            kind: plant(sets["test"], replace(cue, told=told, seed=seed + 1))
            for kind, told in (
                ("correlated", "label"), ("random", "random"), ("reversed", "reversed"),
            )
        }  # fmt: skip
        return Task(
            f"D-{name}",
            plant(sets["train"], cue),
            plant(sets["val"], cue),
            {**tests, "clean": sets["test"]},
            sets["train"],
        )

    return make


def _real(folder: Path) -> dict[str, ImageSet]:
    """Read a real set at the size of the benchmark."""
    size = Preprocessing(_SIDE, _SIDE, (0.5,) * 3, (0.5,) * 3)  # only the size is used here
    return datasets.load_splits(datasets.read_folder(folder), size)


def _by_class(rows: ImageSet) -> ImageSet:
    """Make groups of class × former group."""
    kinds = len(rows.group_names)
    names = tuple(f"{each}, {group}" for each in rows.classes for group in rows.group_names)
    groups = rows.labels * kinds + rows.subpopulations
    return replace(rows, groups=groups, group_names=names)


def _filled(rows: ImageSet) -> ImageSet:
    """Paint what is irrelevant in the set's mean colour."""
    mean = rows.images.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    irrelevant = rows.masks(np.arange(len(rows)))[1]
    return replace(rows, images=np.where(irrelevant[..., None], mean, rows.images))


def _swapped(rows: ImageSet) -> ImageSet:
    """Give each image the surroundings of another one."""
    irrelevant = rows.masks(np.arange(len(rows)))[1]
    order = np.random.default_rng(0).permutation(len(rows))
    other = rows.images[order]
    return replace(rows, images=np.where(irrelevant[..., None], other, rows.images))


def _grey(
    source: Callable[[Plan, Path, int], digits.GreySource],
    generator: Callable[..., Task],
) -> Callable[[Plan, Path, int], Task]:
    """Return the maker of a generated task."""
    return lambda plan, data, seed: generator(source(plan, data, seed), seed=seed)


_SIDE = 128
_SMALL = TrainingConfig(
    epochs=20, batch_size=128, schedule="cosine", criterion="last", device="cpu"
)
_REAL = replace(_SMALL, epochs=6, batch_size=32, learning_rate=3e-4)

TASKS: dict[str, Plan] = {
    "A-digits": Plan("D1, 5,000 MNIST digits, corner square", 0, 0, "compact", _SMALL, "random",
                     _grey(_digits, generators.corner_decoy)),
    "A-fashion": Plan("D1, full Fashion-MNIST, corner square", 0, 0, "compact",
                      replace(_SMALL, epochs=6), "random",
                      _grey(_fashion, generators.corner_decoy)),
    "B-12k": Plan("D3, 12,000 MNIST digits, flat half", 12_000, 5_000, "compact",
                  replace(_SMALL, epochs=12), "random", _grey(_mnist, generators.half_decoy)),
    "B": Plan("D3, full MNIST, flat half", 0, 0, "compact", replace(_SMALL, epochs=10), "random",
              _grey(_mnist, generators.half_decoy)),
    "C": Plan("D4, 5,000 MNIST digits, colour tells the label", 0, 0, "compact",
              replace(_SMALL, epochs=60), "random", _grey(_digits, generators.coloured_strokes)),
    "D5": Plan("toy colours, corners forbidden", 6_000, 4_000, "toy",
               replace(_SMALL, epochs=30), "corners", _colours),
    "D6": Plan("iris beside breast cancer, iris forbidden", 0, 0, "table",
               replace(_SMALL, epochs=200, batch_size=67), "clean", _iris),
    "D-isic": Plan("ISIC 2017 as it is, pretrained", 0, 0, "pretrained", _REAL, "random",
                   _stickers),
    "D-cxr": Plan("chest X-rays with a planted marker, pretrained", 0, 0, "pretrained", _REAL,
                  "random", _planted("cxr")),
    "D-objects": Plan("objects with a planted marker, pretrained", 0, 0, "pretrained", _REAL,
                      "random", _planted("objects")),
}  # fmt: skip
