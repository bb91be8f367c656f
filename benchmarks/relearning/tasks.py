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
        methods: Which methods it is for; empty for all.
        side: Of real images, pixels.
    """

    title: str
    rows: int
    test: int
    network: str
    config: TrainingConfig
    judged: str
    make: Callable[["Plan", Path, int], Task]
    methods: tuple[str, ...] = ()
    side: int = 96

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
            return _pretrained(task.training.classes, plan.side)
        return architectures.build(networks.spec(plan.network, task.training.classes))


def _pretrained(classes: tuple[str, ...], side: int) -> Classifier:
    """Return EfficientNet-Lite0 with ImageNet weights and a fresh last layer.

    Channels last: its depthwise convolutions take half the time on a CPU.
    """
    state = imagenet.imagenet_classifier().network.state_dict()
    spec = architectures.default_spec("efficientnet_lite0", classes, height=side, width=side)
    made = architectures.build(spec, pretrained_state=state)
    return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub


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


def _stickers(plan: Plan, data: Path, seed: int) -> Task:
    """ISIC 2017 as it is: stickers beside nevi only; groups are class × sticker.

    In "plain" and "sticker" the lesions of the test rows without a sticker stand in the
    surroundings of plain nevi, and of nevi with a sticker: only the surroundings differ.
    """
    sets = _real(plan, data / "isic2017", seed)
    parts = {name: _by_class(rows) for name, rows in sets.items()}
    test = parts["test"]
    tests = {
        "correlated": test,
        "random": _swapped(test),
        "plain": _surrounded(test, "nevus, no_sticker"),
        "sticker": _surrounded(test, "nevus, sticker"),
    }
    return Task("D-isic", parts["train"], parts["val"], tests, _filled(parts["train"]))


def _planted(
    name: str, narrow: Callable[[ImageSet], ImageSet] = lambda rows: rows
) -> Callable[[Plan, Path, int], Task]:
    """Return the maker of a real set with a disc that tells the label in training only.

    Its colour is the label's on 19 rows of 20, and anyone's on the twentieth.
    """

    def make(plan: Plan, data: Path, seed: int) -> Task:
        whole = _real(plan, data / name, seed)
        sets = {split: narrow(rows) for split, rows in whole.items()}
        cue = Planting("marker", size=0.25, rate=0.95, seed=seed)
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


def _real(plan: Plan, folder: Path, seed: int) -> dict[str, ImageSet]:
    """Read a real set at the plan's size, with so many training rows as it says."""
    size = Preprocessing(plan.side, plan.side, (0.5,) * 3, (0.5,) * 3)  # only the size counts
    sets = datasets.load_splits(datasets.read_folder(folder), size)
    training = sets["train"]
    if 0 < plan.rows < len(training):
        kept = np.random.default_rng([seed, 7]).permutation(len(training))[: plan.rows]
        sets["train"] = training.take(np.sort(kept))
    return sets


def _bacteria(rows: ImageSet) -> ImageSet:
    """Return the children's X-rays that are normal or show a bacterial pneumonia.

    Age and source tell COVID-19 there, a shortcut of its own; viral pneumonia looks like either.
    """
    wanted = ("normal", "bacteria")
    kept = rows.take(
        np.flatnonzero(np.isin(rows.labels, [rows.classes.index(each) for each in wanted]))
    )
    ill = (kept.labels == rows.classes.index("bacteria")).astype(np.int64)
    return replace(kept, labels=ill, classes=wanted, groups=None)


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


def _surrounded(rows: ImageSet, donors: str) -> ImageSet:
    """Return the lesions without a sticker in the surroundings of a group's test rows."""
    group = rows.group_names.index(donors)
    giving = np.flatnonzero(rows.subpopulations == group)
    bare = [name.endswith("no_sticker") for name in rows.group_names]
    taking = rows.take(np.flatnonzero(np.asarray(bare)[rows.subpopulations]))
    draw = np.random.default_rng(1)
    others = rows.images[draw.choice(giving, len(taking))]
    irrelevant = taking.masks(np.arange(len(taking)))[1]
    return replace(taking, images=np.where(irrelevant[..., None], others, taking.images))


def _grey(
    source: Callable[[Plan, Path, int], digits.GreySource],
    generator: Callable[..., Task],
) -> Callable[[Plan, Path, int], Task]:
    """Return the maker of a generated task."""
    return lambda plan, data, seed: generator(source(plan, data, seed), seed=seed)


_BASES = ("trained without the cue", "ERM", "ERM, decay 1")
_SMALL = TrainingConfig(
    epochs=20,
    batch_size=128,
    learning_rate=3e-3,
    schedule="cosine",
    criterion="last",
    device="cpu",
)
_REAL = replace(_SMALL, epochs=4, batch_size=32, learning_rate=1e-3)
_REAL_METHODS = (
    *_BASES, "RRR", "RRR, displaced masks", "Grad-CAM penalty",
    "Counterexamples, flat", "Counterexamples, displaced masks", "eXBL",
)  # fmt: skip

TASKS: dict[str, Plan] = {
    "A-digits": Plan("D1, 5,000 MNIST digits, corner square", 0, 0, "compact", _SMALL, "random",
                     _grey(_digits, generators.corner_decoy)),
    "A-fashion": Plan("D1, full Fashion-MNIST, corner square", 0, 0, "compact",
                      replace(_SMALL, epochs=5), "random",
                      _grey(_fashion, generators.corner_decoy),
                      (*_BASES, "RRR", "RRR, displaced masks", "Grad-CAM penalty", "Energy",
                       "Counterexamples, flat", "Counterexamples, displaced masks",
                       "IBP-Ex + gradient")),
    "B": Plan("D3, full MNIST, flat half", 0, 0, "compact", replace(_SMALL, epochs=8), "random",
              _grey(_mnist, generators.half_decoy),
              (*_BASES, "GroupDRO", "RRR", "RRR, displaced masks", "Grad-CAM penalty",
               "Counterexamples, noise", "Counterexamples, flat",
               "Counterexamples, displaced masks", "Rand-Ex", "PGD-Ex", "PGD-Ex + gradient",
               "IBP-Ex, small box + gradient")),
    "C": Plan("D4, full MNIST, colour tells the label", 0, 0, "compact",
              replace(_SMALL, epochs=12), "random", _grey(_mnist, generators.coloured_strokes),
              (*_BASES, "GroupDRO", "TEA")),
    "D5": Plan("toy colours, corners forbidden", 6_000, 4_000, "toy",
               replace(_SMALL, epochs=30, learning_rate=1e-3), "corners", _colours),
    "D6": Plan("iris beside breast cancer, iris forbidden", 0, 0, "table",
               replace(_SMALL, epochs=200, batch_size=67, learning_rate=1e-3), "clean", _iris),
    "D-isic": Plan("ISIC 2017 as it is, pretrained", 0, 0, "pretrained", _REAL, "random",
                   _stickers, _REAL_METHODS),
    "D-cxr": Plan("chest X-rays with a planted disc, pretrained", 0, 0, "pretrained", _REAL,
                  "random", _planted("cxr", _bacteria), _REAL_METHODS),
    "D-objects": Plan("objects with a planted disc, pretrained", 0, 0, "pretrained",
                      replace(_REAL, epochs=3), "random", _planted("objects"), _REAL_METHODS,
                      side=160),
}  # fmt: skip
