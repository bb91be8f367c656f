"""What every objective promises, checked for each by its being listed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from models.architectures import Classifier, build, default_spec
from models.errors import TrainingError
from models.training.batches import batch_of
from models.training.distillation import TEA, masked_images
from models.training.e2kd import E2KD
from models.training.image_sets import ImageSet
from models.training.losses.rrr import RRR
from models.training.methods import BY_NAME, objective
from models.training.objectives import ERM, Batch, LossModule, Moment, Objective
from models.training.optimizers import TrainingConfig
from models.training.trainer import train
from models.types import ClassifierSpec, Preprocessing
from tests import joint

CLASSES = ("a", "b", "c")
MOMENT = Moment(step=3, epoch=1, epochs=4, seed=5)


def rows(count: int = 6, *, annotated: bool = True) -> ImageSet:
    """Images with a region in the middle and the cue in a corner."""
    draw = np.random.default_rng(0)
    relevant = np.zeros((count, 12, 12), bool)
    relevant[:, 4:9, 3:9] = True
    irrelevant = np.zeros((count, 12, 12), bool)
    irrelevant[:, :4, :4] = True
    images = draw.integers(30, 226, (count, 12, 12, 3)).astype(np.uint8)
    images[:, :4, :4] = (np.arange(count) % 3 * 80 + 40)[:, None, None, None]
    return ImageSet(
        images,
        np.arange(count) % 3,
        CLASSES,
        tuple(f"row {each}" for each in range(count)),
        relevant=relevant,
        irrelevant=irrelevant,
        annotated=np.full(count, annotated),
    )


def tiny(num_classes: int) -> nn.Module:
    """A network that every method covers, small enough for finite differences."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, num_classes),
    )


def classifier(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    spec = ClassifierSpec(
        "tests:tiny", CLASSES, Preprocessing(12, 12, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)), "4"
    )
    return Classifier(spec, tiny(3)).double()


def ready(
    name: str, network: Classifier, changes: Mapping[str, object] | None = None
) -> Objective:
    """Return an objective after `begin`, with a penalty that counts."""
    # GroupDRO's weights follow the losses without gradient: hold them still to check it.
    options = {**({"step": 0.0} if name == "group_dro" else {}), **(changes or {})}
    if name in TAUGHT:
        made: Objective = TAUGHT[name](classifier(7), view=masked_images)
    else:
        made = BY_NAME[name](**options)
    made.check(network, torch.zeros(2, 3, 12, 12, dtype=torch.float64))
    # Latents and exemplars are found in float32 from float64 weights: give begin float32.
    # Another network's exemplars, because a distance of zero has no derivative.
    made.begin(classifier(9).float() if name == "exbl" else network.float(), rows())
    if isinstance(made, TEA | E2KD):
        made.teacher.double()
    network.double()
    return made


def batch(count: int = 6, *, annotated: bool = True) -> Batch:
    made = batch_of(rows(count, annotated=annotated), np.arange(count))
    return made.showing(made.images.double())


TAUGHT = {"tea": TEA, "e2kd": partial(E2KD, stored=False)}
NAMES = [*BY_NAME, *TAUGHT]
USING_REGIONS = [name for name in BY_NAME if BY_NAME[name].uses_regions]
# Zero regions give ERM, but for alternating_rrr, and for exbl and rr_clarc, which take what they
# need from annotated rows before training and then act on every row.
ERM_WITHOUT_REGIONS = [
    each for each in USING_REGIONS if each not in {"alternating_rrr", "exbl", "rr_clarc"}
]


def variants() -> list[tuple[str, dict[str, object]]]:
    """Every choice of every option that has choices, and numbers that switch a term on."""
    choices = [
        (name, {option: choice})
        for name, kind in BY_NAME.items()
        for option, hint in get_type_hints(kind).items()
        if get_origin(hint) is Literal
        for choice in get_args(hint)
    ]
    numbers: list[tuple[str, dict[str, object]]] = [
        ("rand_ex", {"gradient": 2.0}),
        ("pgd_ex", {"gradient": 2.0}),
        ("pgd_ex", {"gradient": 2.0, "gradient_form": "published"}),
        ("ibp_ex", {"gradient": 2.0, "start": 0.1, "trust": 0.9}),
        ("ibp_ex", {"gradient": 2.0, "gradient_form": "published"}),
        ("alternating_rrr", {"label_steps": 4}),
        ("rand_r4", {"level": 0.5, "samples": 2}),
        ("rbr", {"ceiling": 1e-12}),  # reached: the penalty's gradient stops
        ("rbr", {"ceiling": 1e12}),
        ("counterexamples", {"copies": 3}),
        ("counterexamples", {"copies": 2, "fill": "flat"}),
        ("counterexamples", {"copies": 2, "fill": "other"}),
        ("erm", {"smoothing": 0.1}),
    ]
    return choices + numbers


VARIANTS = variants()


def test_every_option_that_has_choices_is_among_the_variants() -> None:
    assert {"fill", "scalar", "told", "penalty", "gradient_form"} <= {
        option for _, changes in VARIANTS for option in changes
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_finite_and_reaches_every_trainable_parameter(name: str) -> None:
    network = classifier()
    made = ready(name, network)
    loss = made.loss(network, batch(), MOMENT)
    loss.total.backward()

    assert torch.isfinite(loss.total)
    assert all(not each.requires_grad for each in loss.terms.values())
    last_bias = dict(network.named_parameters())["network.7.bias"]
    for label, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        blind = parameter is last_bias and name == "alternating_rrr"  # its gradient is of no bias
        assert parameter.grad is not None or blind, label
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), label


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("direction", [0, 1])
def test_the_parameter_gradient_agrees_with_finite_differences(name: str, direction: int) -> None:
    network = classifier()
    compare_with_finite_differences(ready(name, network), network, direction)


@pytest.mark.parametrize(("name", "changes"), VARIANTS, ids=str)
def test_the_gradient_of_every_variant_agrees_with_finite_differences(
    name: str, changes: dict[str, object]
) -> None:
    network = classifier()
    compare_with_finite_differences(ready(name, network, changes), network, 0)


def compare_with_finite_differences(made: Objective, network: Classifier, direction: int) -> None:
    """Compare the gradient with the difference along one direction in all parameters."""
    parameters = [each for each in network.parameters() if each.requires_grad]
    torch.manual_seed(direction)
    along = [torch.randn_like(each) for each in parameters]

    def move(step: float) -> None:
        with torch.no_grad():
            torch._foreach_add_(parameters, torch._foreach_mul(along, step))

    def total() -> Tensor:
        state = {key: each.clone() for key, each in made.state().items()}
        loss = made.loss(network, batch(), MOMENT).total
        if state:
            made.restore(state)
        return loss

    def value(step: float) -> float:
        move(step)
        found = float(total().detach())
        move(-step)
        return found

    slopes = torch.autograd.grad(total(), parameters, allow_unused=True)
    exact = sum(
        float((slope * way).sum())
        for slope, way in zip(slopes, along, strict=True)
        if slope is not None
    )
    step = 1e-6
    measured = (value(step) - value(-step)) / (2 * step)

    assert exact == pytest.approx(measured, rel=2e-4, abs=1e-7)


@pytest.mark.parametrize("name", ERM_WITHOUT_REGIONS)
def test_without_a_region_the_gradient_is_that_of_erm(name: str) -> None:
    network = classifier()
    made = ready(name, network)
    bare = batch(annotated=False)
    parameters = list(network.parameters())
    found = torch.autograd.grad(
        made.loss(network, bare, MOMENT).total, parameters, allow_unused=True
    )
    erm = torch.autograd.grad(ERM().loss(network, bare, MOMENT).total, parameters)

    for one, other in zip(found, erm, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [6, 24, 36])
def test_masks_of_another_size_count_as_resized_beforehand(name: str, size: int) -> None:
    """Masks of whole blocks of 4 pixels mean the same at 12×12, coarser and finer."""
    network = classifier()
    blocks = torch.rand(6, 3, 3, generator=torch.Generator().manual_seed(1)) < 0.4
    losses = []
    for side in (12, size):
        mask = blocks.repeat_interleave(4, 1).repeat_interleave(4, 2)  # 12×12, by hand
        if side == 6:
            mask = mask[:, ::2, ::2]
        elif side > 12:
            mask = mask.repeat_interleave(side // 12, 1).repeat_interleave(side // 12, 2)
        made = ready(name, network)
        given = replace(batch(), relevant=~mask, irrelevant=mask)
        losses.append(made.loss(network, given, MOMENT).total.detach())

    torch.testing.assert_close(losses[1], losses[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_masks_that_fit_no_grid_are_answered(name: str) -> None:
    network = classifier()
    made = ready(name, network)
    mask = torch.zeros(6, 5, 5, dtype=torch.bool)
    mask[:, :1, :1] = True
    loss = made.loss(network, replace(batch(), relevant=~mask, irrelevant=mask), MOMENT)

    assert torch.isfinite(loss.total)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one_without_region_is_answered(name: str) -> None:
    network = classifier()
    made = ready(name, network)
    alone = batch(1, annotated=False)
    found = made.loss(network, alone, MOMENT).total.detach()

    assert torch.isfinite(found)
    if name in ERM_WITHOUT_REGIONS:
        expected = ERM().loss(network, alone, MOMENT).total.detach()
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_that_depends_on_the_planned_length_says_so(name: str) -> None:
    network = classifier()
    lengths = []
    for epochs in (4, 9):
        made = ready(name, network)
        moment = replace(MOMENT, epochs=epochs)
        lengths.append(float(made.loss(network, batch(), moment).total.detach()))

    assert (lengths[0] != lengths[1]) == made.planned_length


@pytest.mark.parametrize("name", NAMES)
def test_the_same_moment_draws_the_same(name: str) -> None:
    network = classifier()
    one, two = ready(name, network), ready(name, network)
    losses = [float(each.loss(network, batch(), MOMENT).total.detach()) for each in (one, two)]

    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", NAMES)
def test_modes_gradients_and_hooks_are_left_as_found(name: str) -> None:
    network = classifier()
    made = ready(name, network)
    network.train()
    made.loss(network, batch(), MOMENT)

    assert all(each.training for each in network.modules())
    assert all(each.grad is None for each in network.parameters())
    hooks = [each for part in network.modules() for each in part._forward_hooks.values()]
    assert not hooks


@contextmanager
def process_group(folder: Path) -> Iterator[None]:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'rendezvous'}", rank=0, world_size=1
    )
    try:
        yield
    finally:
        distributed.destroy_process_group()


def test_every_objective_trains_inside_distributed_data_parallel(tmp_path: Path) -> None:
    """The whole loss runs in the wrapped module's forward; gradients equal those without."""
    with process_group(tmp_path):
        for name in NAMES:
            network = classifier()
            made = ready(name, network)
            state = {key: each.clone() for key, each in made.state().items()}
            made.loss(network, batch(), MOMENT).total.backward()
            alone = [each.grad for each in network.parameters()]
            network.zero_grad()
            if state:
                made.restore(state)
            wrapped = DistributedDataParallel(
                LossModule(network, made), find_unused_parameters=True
            )
            wrapped(batch(), MOMENT).total.backward()

            for one, parameter in zip(alone, network.parameters(), strict=True):
                if one is not None:
                    assert torch.allclose(one, parameter.grad), name


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    """Each has half of every batch, and the whole loss runs in the wrapped module's forward.

    Weights after four steps agree to 1e-12 in float64; the sums are in another order.
    """
    torch.multiprocessing.spawn(joint.work, (2, str(tmp_path)), nprocs=2)
    for name in joint.OBJECTIVES:
        alone = joint.steps(
            name, joint.discs(joint.STEPS * joint.BATCH), rank=0, world=1, wrap=False
        )
        together = load_file(tmp_path / f"{name}.safetensors")
        for label, weight in alone.state_dict().items():
            torch.testing.assert_close(together[label], weight, rtol=0, atol=1e-12)
    halves = joint.steps(
        "erm", joint.discs(joint.STEPS * joint.BATCH), rank=0, world=2, wrap=False
    )

    assert any(
        not torch.allclose(weight, load_file(tmp_path / "erm.safetensors")[label], atol=1e-6)
        for label, weight in halves.state_dict().items()
    )  # that the comparison can fail


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_autocast_is_near_float32(name: str) -> None:
    network = classifier().float()
    made = ready(name, network)
    network.float()
    if isinstance(made, TEA | E2KD):
        made.teacher.float()
    given = batch().showing(batch().images.float())
    state = {key: each.clone() for key, each in made.state().items()}
    plain = float(made.loss(network, given, MOMENT).total.detach())
    if state:
        made.restore(state)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = made.loss(network, given, MOMENT)
    loss.total.backward()

    assert float(loss.total.detach()) == pytest.approx(plain, rel=0.1, abs=0.02)
    for each in network.parameters():
        assert each.grad is None or (
            each.grad.dtype == torch.float32 and each.grad.isfinite().all()
        )


@pytest.mark.parametrize("name", NAMES)
def test_an_objective_trains_on_the_small_network(name: str) -> None:
    def build_one(seed: int) -> Classifier:
        torch.manual_seed(seed)
        return build(default_spec("small_cnn", CLASSES, height=12))

    network = build_one(0)
    made = TAUGHT[name](build_one(1)) if name in TAUGHT else objective(name)
    config = TrainingConfig(epochs=2, batch_size=4, device="cpu")
    result = train(network, made, rows(), rows(), config)

    assert len(result.history) == 2
    assert np.isfinite(result.history[-1].terms["total"])


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_training_equals_an_uninterrupted_one(name: str, tmp_path: Path) -> None:
    """Whatever it keeps, draws or alternates; the resumed network begins with other weights."""

    def build_one(seed: int) -> Classifier:
        torch.manual_seed(seed)
        return build(default_spec("small_cnn", CLASSES, height=12))

    def fresh() -> Objective:
        return TAUGHT[name](build_one(1)) if name in TAUGHT else objective(name)

    config = TrainingConfig(
        epochs=3, batch_size=2, device="cpu", weight_decay=0.1, criterion="last"
    )
    whole, resumed = build_one(0), build_one(2)
    asked = iter([False] * 7)  # ends in the third epoch of three steps
    expected = train(whole, fresh(), rows(), rows(), config)
    ended = train(
        build_one(0),
        fresh(),
        rows(),
        rows(),
        config,
        should_stop=lambda: next(asked, True),
        checkpoint=tmp_path,
    )
    found = train(resumed, fresh(), rows(), rows(), config, checkpoint=tmp_path)

    assert (ended.cancelled, len(ended.history)) == (True, 2)
    assert [each.terms for each in found.history] == [each.terms for each in expected.history]
    for label, weight in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[label], weight), label


@pytest.mark.parametrize("name", ["cdep", "ibp_ex", "r4"])
def test_what_cannot_run_on_a_network_says_so_before_training(name: str) -> None:
    network = build(default_spec("resnet18", CLASSES, height=32))

    with pytest.raises(TrainingError, match=r"cannot run on resnet18: no rule for"):
        objective(name).check(network, torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("name", ["isnet", "tea"])
def test_lrp_methods_refuse_what_lrp_does_not_cover(name: str) -> None:
    network = build(default_spec("mobilenet_v3_small", CLASSES, height=32))
    made = TEA(classifier()) if name == "tea" else objective(name)

    with pytest.raises(TrainingError, match="LRP does not cover"):
        made.check(network, torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("scalar", ["log_probabilities", "random_sign", "log_target"])
def test_every_scalar_of_rrr_agrees_with_finite_differences(scalar: str) -> None:
    network = classifier()
    made = RRR(scalar=scalar)
    weight = network.network[7].weight
    slope = torch.autograd.grad(made.loss(network, batch(), MOMENT).total, weight)[0]
    values = []
    for step in (1e-6, -1e-6):
        with torch.no_grad():
            weight[1, 2] += step
        values.append(float(made.loss(network, batch(), MOMENT).total.detach()))
        with torch.no_grad():
            weight[1, 2] -= step

    assert float(slope[1, 2]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4)


def test_an_unknown_objective_or_option_is_refused_with_what_exists() -> None:
    with pytest.raises(TrainingError, match="'magic' is none of erm, rrr"):
        objective("magic")
    with pytest.raises(TrainingError, match="rrr has no option 'lambda'; it has weight, scalar"):
        objective("rrr", {"lambda": 1})
    with pytest.raises(
        TrainingError,
        match="fill is 'gray', needed is one of noise, flat, colour, other, exchange",
    ):
        objective("counterexamples", {"fill": "gray"})


class Detached(ERM):
    """A penalty over a detached map: what the gradient check must catch."""

    def loss(self, classifier: Classifier, batch: Batch, moment: Moment):  # noqa: ANN201
        plain = super().loss(classifier, batch, moment)
        penalty = RRR().loss(classifier, batch, moment).total.detach()
        return plain._replace(total=plain.total + penalty)


def test_that_the_gradient_check_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    check: Callable[[str, int], None] = test_the_parameter_gradient_agrees_with_finite_differences
    monkeypatch.setitem(globals(), "ready", lambda _name, _network: Detached())

    with pytest.raises(AssertionError):
        check("erm", 0)
