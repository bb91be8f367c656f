"""Tao and Shokri's two stages: the formula as loops, what each stage moves, and the folding."""

from dataclasses import replace
from math import exp, log
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.architectures import Classifier
from models.errors import TrainingError
from models.training import methods, running
from models.training.batches import batch_of
from models.training.image_sets import ImageSet
from models.training.objectives import Batch, Moment
from models.training.optimizers import TrainingConfig
from models.training.procedures import TwoStageMapping
from models.training.recipes import Recipe
from models.training.two_stage import TwoStage, folded, mapped_layer, with_mapping
from models.types import ClassifierSpec, Preprocessing

CLASSES = ("a", "b", "c")
SECOND = Moment(step=1, seed=3)  # after one step by the labels


def rows(count: int = 6) -> ImageSet:
    draw = np.random.default_rng(1)
    cue = np.zeros((count, 8, 8), bool)
    cue[:, :3, :3] = True
    known = np.arange(count) != 2
    return ImageSet(
        draw.integers(0, 256, (count, 8, 8, 3)).astype(np.uint8),
        np.arange(count) % 3,
        CLASSES,
        tuple(map(str, range(count))),
        irrelevant=cue & known[:, None, None],
        annotated=known,
    )


def batch() -> Batch:
    made = batch_of(rows(), np.arange(6))
    return made.showing(made.images.double())


def plain() -> Classifier:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)
    )
    spec = ClassifierSpec(
        "tests:plain", CLASSES, Preprocessing(8, 8, (0.4,) * 3, (0.25,) * 3), "1"
    )
    return Classifier(spec, network).double()


def mapped() -> Classifier:
    """A classifier whose mapping is no longer the identity."""
    made = with_mapping(plain())
    with torch.no_grad():
        mapping = mapped_layer(made, mapping=True)
        mapping.weight.add_(0.1 * torch.randn_like(mapping.weight))
        mapping.bias.add_(0.1 * torch.randn_like(mapping.bias))
    return made


def softmax(values: Tensor) -> list[float]:
    powers = [exp(each) for each in values.tolist()]
    return [each / sum(powers) for each in powers]


@pytest.mark.parametrize("variant", ["mapping", "without"])
def test_the_second_stage_is_the_formula_read_as_loops(variant: str) -> None:
    """KL(softmax f(x') ‖ softmax m(f(x))), x' with its masked pixels black."""
    network = plain() if variant == "without" else mapped()
    given = batch()
    features = nn.Sequential(*list(network.network)[:3])
    expected = 0.0
    for row in range(6):
        if row == 2:  # nothing is known of it
            continue
        dark = given.images[row : row + 1].clone()
        dark[:, :, :3, :3] = 0
        wanted = softmax(features(network.normalise(dark))[0])
        own = features(network.normalise(given.images[row : row + 1]))
        if variant == "mapping":
            own = mapped_layer(network, mapping=True)(own)
        found = softmax(own[0])
        expected += sum(p * log(p / q) for p, q in zip(wanted, found, strict=True)) / 6

    loss = TwoStage(variant).loss(network, given, SECOND)

    assert float(loss.total.detach()) == pytest.approx(expected, rel=1e-9)
    assert loss.terms.keys() == {"explanation"}


@pytest.mark.parametrize(
    ("variant", "moment", "moved"),
    [
        ("mapping", SECOND, {"network.3.mapping.weight", "network.3.mapping.bias"}),
        ("without", SECOND, {"network.0.weight", "network.0.bias"}),
        ("mapping", Moment(step=0), None),
        ("joint", SECOND, None),
    ],
)
def test_each_stage_moves_what_it_may(
    variant: str, moment: Moment, moved: set[str] | None
) -> None:
    network = plain() if variant == "without" else mapped()
    TwoStage(variant).loss(network, batch(), moment).total.backward()
    found = {name for name, each in network.named_parameters() if each.grad is not None}

    assert found == (moved or {name for name, _ in network.named_parameters()})


@pytest.mark.parametrize("variant", ["mapping", "without", "joint"])
@pytest.mark.parametrize("step", [0, 1])
def test_the_parameter_gradient_agrees_with_finite_differences(variant: str, step: int) -> None:
    network = plain() if variant == "without" else mapped()
    made, given, moment = TwoStage(variant), batch(), Moment(step=step)
    wanted = plain().state_dict()  # f(x') is held fixed: it is not differentiated
    below = variant == "without" or (step == 0 and variant == "mapping")
    name = "network.0.weight" if below else "network.3.mapping.weight"
    parameter = network.get_parameter(name)
    (slope,) = torch.autograd.grad(made.loss(network, given, moment).total, parameter)
    index = np.unravel_index(int(slope.abs().argmax()), slope.shape)
    values = []
    for change in (1e-6, -1e-6):
        with torch.no_grad():
            parameter[index] += change
        values.append(float(_held(made, network, given, moment, wanted).detach()))
        with torch.no_grad():
            parameter[index] -= change

    assert float(slope[index]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def _held(
    made: TwoStage, network: Classifier, given: Batch, moment: Moment, wanted: dict[str, Tensor]
) -> Tensor:
    """Return the loss with f(x') of the weights before the change, where f is what changes."""
    if made.variant != "without" or moment.step == 0:
        return made.loss(network, given, moment).total
    before = plain()
    before.load_state_dict(wanted)
    dark = given.images.clone()
    dark[given.irrelevant[:, None].expand_as(dark)] = 0
    target = before.network[:3](before.normalise(dark)).softmax(1)
    own = network.network[:3](network.normalise(given.images)).log_softmax(1)
    each = (target * (target.log() - own)).sum(1)
    return (each * given.annotated).mean()


def test_the_mapping_begins_as_the_identity_and_is_folded_away() -> None:
    begun, network = plain(), mapped()
    images = batch().images

    assert torch.allclose(begun(images), with_mapping(begun)(images), atol=1e-14)
    assert not torch.allclose(begun(images), network(images), atol=1e-3)
    once = folded(network)
    assert torch.allclose(network(images), once(images), atol=1e-12)
    assert begun.state_dict().keys() == once.state_dict().keys()
    with pytest.raises(TrainingError, match="has no mapping layer"):
        TwoStage().check(begun, images)


def test_a_second_stage_without_a_mask_is_left_out() -> None:
    bare = replace(batch(), irrelevant=torch.zeros(6, 8, 8, dtype=torch.bool))
    made = TwoStage(label_steps=2, mapping_steps=1)

    assert [made.phase(Moment(step=each)) for each in range(4)] == [
        "label", "label", "second", "label",
    ]  # fmt: skip
    assert [made.skips(bare, Moment(step=each)) for each in range(3)] == [False, False, True]
    assert not made.skips(batch(), Moment(step=2))


SETS = {"train": rows(24), "val": replace(rows(), ids=tuple(f"v{each}" for each in range(6)))}
CONFIG = TrainingConfig(epochs=3, batch_size=6, device="cpu")


def recipe(objective: str = "two_stage_mapping", **changes: object) -> Recipe:
    given = {"data": "squares", "objective": objective, "height": 8, "training": CONFIG}
    return Recipe(**(given | changes))


@pytest.mark.parametrize("variant", ["mapping", "without", "joint"])
def test_a_training_that_goes_on_ends_with_the_same_weights(variant: str, tmp_path: Path) -> None:
    asked = recipe(options={"variant": variant})
    whole = running.run(asked, splits=SETS).classifier
    steps = iter([False] * 6)  # an epoch has four
    running.run(asked, splits=SETS, checkpoint=tmp_path, should_stop=lambda: next(steps, True))
    resumed = running.run(asked, splits=SETS, checkpoint=tmp_path).classifier

    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert type(whole.network[-1]) is nn.Linear


def test_without_a_mask_there_is_nothing_to_learn() -> None:
    bare = {name: replace(each, irrelevant=None, annotated=None) for name, each in SETS.items()}

    with pytest.raises(TrainingError, match="two_stage_mapping needs masks"):
        running.run(recipe(), splits=bare)


def test_the_former_name_of_alternating_rrr_is_taken_with_a_word() -> None:
    with pytest.warns(UserWarning, match="two_stage is called alternating_rrr now"):
        trained = running.run(recipe("two_stage", options={"label_steps": 2}), splits=SETS)

    assert trained.recipe.objective == "alternating_rrr"
    assert methods.option_names("two_stage") == methods.option_names("alternating_rrr")
    assert TwoStageMapping.name == "two_stage_mapping"
