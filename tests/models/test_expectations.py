"""A network that answers other than its owner saw is refused, and the cause is named."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from models import expectations
from models.architectures import Classifier
from models.errors import ExportError
from models.expectations import Expected
from models.preprocessing import prepare
from models.types import ClassifierSpec, Preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RIGHT = Preprocessing(32, 32, MEAN, STD, fit="crop", resize=37, crop_fraction=32 / 37)


def pictures(count: int = 6) -> list[np.ndarray]:
    """Coloured scenes, oblong, with something at the borders."""
    draw = np.random.default_rng(0)
    made = []
    for _ in range(count):
        coarse = draw.integers(0, 256, (7, 10, 3)).astype(np.uint8)
        made.append(coarse.repeat(9, 0).repeat(8, 1))
    return made


@pytest.fixture(scope="module")
def origin() -> Classifier:
    """A network whose answers depend strongly on what it sees."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(3, 8, 5, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 8 * 8, 3))
    )
    for each in (network[0], network[3]):
        nn.init.normal_(each.weight, std=0.1)
    spec = ClassifierSpec("resnet18", ("a", "b", "c"), RIGHT, target_layer="1")
    return Classifier(spec, network.eval())


def answers(classifier: Classifier, size: Preprocessing) -> np.ndarray:
    other = Classifier(replace(classifier.spec, preprocessing=size), classifier.network).eval()
    pixels = np.stack([prepare(each, size) for each in pictures()])
    with torch.no_grad():
        logits = other(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
    return logits.double().numpy()


def test_the_same_answers_are_accepted(origin: Classifier) -> None:
    logits = answers(origin, RIGHT)

    by_logits = expectations.check(origin, expectations.expected(logits, pictures()))
    labels = Expected(pictures(), None, logits.argmax(1))
    by_labels = expectations.check(origin, labels)

    assert by_logits.images == 6
    assert by_logits.difference < 1e-5
    assert by_labels.difference == 0


OTHERWISE = {
    "--channels bgr": replace(RIGHT, channels="bgr"),
    "--mean 0 --std 1": replace(RIGHT, mean=(0.0,) * 3, std=(1.0,) * 3),
    "--mean 0.5 --std 0.5": replace(RIGHT, mean=(0.5,) * 3, std=(0.5,) * 3),
    "--fit stretch": replace(RIGHT, fit="stretch", resize=None, crop_fraction=1.0),
    "--fit letterbox": replace(RIGHT, fit="letterbox", resize=None, crop_fraction=1.0),
    "--transform-input": replace(RIGHT, transform_input=True),
    "--interpolation nearest": replace(RIGHT, interpolation="nearest"),
    "--channels bgr --fit stretch": replace(
        RIGHT, channels="bgr", fit="stretch", resize=None, crop_fraction=1.0
    ),
}


@pytest.mark.parametrize("cause", OTHERWISE)
def test_what_its_owner_did_otherwise_is_named(origin: Classifier, cause: str) -> None:
    wanted = expectations.expected(answers(origin, OTHERWISE[cause]), pictures())
    if cause == "--transform-input":  # torchvision's own networks of that kind only
        named_so = replace(origin.spec, architecture="googlenet")
        origin = Classifier(named_so, origin.network)

    with pytest.raises(ExportError) as refused:
        expectations.check(origin, wanted, tolerance=1e-3, source="predictions.csv")

    assert "not as in predictions.csv" in str(refused.value)
    named = str(refused.value).partition(") with ")[2].partition(":")[0]
    assert sorted(cause.split()) == sorted(named.split())


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values) / np.exp(values).sum(1, keepdims=True)


def test_a_softmax_that_was_applied_twice_is_named(origin: Classifier) -> None:
    twice = softmax(softmax(answers(origin, RIGHT)))

    with pytest.raises(ExportError, match="a softmax was applied twice there"):
        expectations.check(origin, expectations.expected(twice, pictures()))


def test_another_order_of_classes_is_named(origin: Classifier) -> None:
    turned = np.roll(answers(origin, RIGHT), 1, axis=1)

    with pytest.raises(ExportError, match="the order of --classes"):
        expectations.check(origin, expectations.expected(turned, pictures()))


def test_other_weights_are_not_explained_away(origin: Classifier) -> None:
    other = np.random.default_rng(1).normal(size=(6, 3)) * 5

    with pytest.raises(ExportError, match="are these the weights that answered"):
        expectations.check(origin, expectations.expected(other, pictures()))
