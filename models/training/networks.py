"""Small networks of the benchmarks, built as any user's own: architecture "module:factory".

All are plain sequences, so that every method covers them.
"""

from collections.abc import Sequence

from torch import nn

from models.types import ClassifierSpec, Preprocessing


def compact(num_classes: int) -> nn.Sequential:
    """Build two strided convolutions and a linear layer for 28×28, 0.5 M products per image.

    It flattens its 7×7 map, so that it can tell a corner from the middle.
    """
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, num_classes),
    )


def narrow(num_classes: int) -> nn.Sequential:
    """Build `compact` with a hidden layer of 64 before the last: few features, for a mapping."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, num_classes),
    )


def perceptron(num_classes: int) -> nn.Sequential:
    """Build 2352-512-K for 28×28, the shape of the published D1 experiments in RGB."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(2352, 512), nn.ReLU(), nn.Linear(512, num_classes)
    )


def toy(num_classes: int) -> nn.Sequential:
    """Build 75-50-30-K for the 5×5 toy colours, as published."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(75, 50),
        nn.ReLU(),
        nn.Linear(50, 30),
        nn.ReLU(),
        nn.Linear(30, num_classes),
    )


def table(num_classes: int) -> nn.Sequential:
    """Build 34-50-30-K for iris beside breast cancer; the table stands in all three channels."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(3 * 34, 50),
        nn.ReLU(),
        nn.Linear(50, 30),
        nn.ReLU(),
        nn.Linear(30, num_classes),
    )


def spec(name: str, classes: Sequence[str]) -> ClassifierSpec:
    """Return the spec of one of the networks above.

    Args:
        name: "compact", "narrow", "perceptron", "toy" or "table".
        classes: Class labels in the order of the logits.
    """
    sizes = {"toy": (5, 5), "table": (1, 34)}
    layers = {"compact": "3", "narrow": "3", "perceptron": "2", "toy": "4", "table": "4"}
    height, width = sizes.get(name, (28, 28))
    raw = name == "table"
    mean, std = ((0.0,) * 3, (1.0,) * 3) if raw else ((0.5,) * 3, (0.5,) * 3)
    return ClassifierSpec(
        architecture=f"models.training.networks:{name}",
        classes=tuple(classes),
        preprocessing=Preprocessing(height, width, mean, std),
        target_layer=layers[name],
    )
