"""The training loop on a problem that a linear layer solves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typing_extensions import override

from models.errors import TrainingError
from models.training import checkpoints
from models.training.image_sets import ImageSet
from models.training.objectives import ERM, Batch, Loss, Moment, Objective, Reweighted
from models.training.optimizers import TrainingConfig, learning_rate
from models.training.scores import answers
from models.training.trainer import Event, train

CONFIG = TrainingConfig(epochs=4, batch_size=16, learning_rate=0.02, device="cpu")


def problem(count: int = 96, seed: int = 0) -> ImageSet:
    """Bright images are class 1."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, count)
    images = draw.integers(0, 100, (count, 6, 6, 3)) + 100 * labels[:, None, None, None]
    return ImageSet(
        images.astype(np.uint8), labels, ("dark", "bright"), tuple(map(str, range(count)))
    )


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(64, 2),
    )


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for each in module.state_dict().values()])


def test_training_learns_and_keeps_the_best_epoch() -> None:
    net = network()
    result = train(net, ERM(), problem(), problem(seed=1), CONFIG)

    best = max(event.validation["accuracy"] for event in result.history)

    assert best > 0.95
    assert result.history[result.best_epoch - 1].validation["accuracy"] == best
    assert result.provenance["threads"] == torch.get_num_threads()


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before() -> None:
    runs = []
    for _ in range(2):
        net = network()
        torch.rand(7)
        np.random.default_rng().random(3)
        train(net, ERM(), problem(), problem(seed=1), CONFIG)
        runs.append(weights(net))

    assert torch.equal(*runs)


def test_training_leaves_the_global_generator_as_found() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(network_without_draw(), ERM(), problem(), problem(seed=1), replace(CONFIG, epochs=1))

    assert torch.equal(expected, torch.rand(3))


def network_without_draw() -> nn.Module:
    with torch.random.fork_rng():
        return network()


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path, kind: str) -> None:
    config = replace(CONFIG, optimizer=kind, schedule="cosine", warmup=0.1, clip=1.0)
    whole = network()
    uninterrupted = train(whole, ERM(), problem(), problem(seed=1), config)
    steps = []

    def stop() -> bool:
        steps.append(1)
        return len(steps) > 15  # in the third epoch

    half = network()
    cancelled = train(
        half, ERM(), problem(), problem(seed=1), config, should_stop=stop, checkpoint=tmp_path
    )
    resumed = network(seed=9)  # other weights: the checkpoint's count
    again = train(resumed, ERM(), problem(), problem(seed=1), config, checkpoint=tmp_path)

    assert cancelled.cancelled
    assert [e.terms["total"] for e in again.history] == [
        e.terms["total"] for e in uninterrupted.history
    ]
    assert torch.equal(weights(whole), weights(resumed))


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    one = replace(CONFIG, epochs=1)
    train(network(), ERM(), problem(), problem(seed=1), one, checkpoint=tmp_path)

    with pytest.raises(TrainingError, match="learning_rate"):
        train(
            network(),
            ERM(),
            problem(),
            problem(seed=1),
            replace(one, learning_rate=0.5),
            checkpoint=tmp_path,
        )


def test_progress_tells_every_epoch_and_steps_on_request() -> None:
    events: list[Event] = []
    config = replace(CONFIG, epochs=2, report_every=2)
    train(network(), ERM(), problem(), problem(seed=1), config, progress=events.append)

    assert [event.step for event in events if event.validation is not None] == [6, 12]
    assert len(events) == 2 + 6
    assert events[-1].steps == 12


@pytest.mark.parametrize(
    ("values", "epochs", "best"),
    [
        ([0.5, 0.9, 0.9, 0.9, 0.8, 0.7, 0.9], 6, 4),  # from the last of equals
        ([0.9, 0.8, 0.7, 0.9], 3, 1),
        ([0.9] * 7, 7, 7),  # a plateau at the best is no end
    ],
)
def test_patience_counts_from_the_epoch_that_is_taken(
    tmp_path: Path, values: list[float], epochs: int, best: int
) -> None:
    config = replace(CONFIG, epochs=len(values), patience=2, criterion="found")
    told = iter(values)
    result = train(
        network(),
        ERM(),
        problem(16),
        problem(seed=1),
        config,
        validate=lambda _: {"found": next(told)},
        checkpoint=tmp_path,
    )
    again = train(
        network(), ERM(), problem(16), problem(seed=1), config, checkpoint=tmp_path
    )  # goes on, to where it ended

    assert (len(result.history), result.best_epoch) == (epochs, best)
    assert (len(again.history), again.best_epoch) == (epochs, best)


def test_a_validation_of_the_callers_own_may_choose_the_epoch() -> None:
    values = iter([0.1, 0.9, 0.3, 0.2])
    result = train(
        network(),
        ERM(),
        problem(),
        problem(seed=1),
        replace(CONFIG, criterion="activation_recall"),
        validate=lambda _: {"activation_recall": next(values)},
    )

    assert result.best_epoch == 2


def test_an_unknown_criterion_is_refused() -> None:
    with pytest.raises(TrainingError, match="'luck' is none of accuracy"):
        train(network(), ERM(), problem(), problem(seed=1), replace(CONFIG, criterion="luck"))


def test_a_checkpoint_of_other_data_or_options_is_refused(tmp_path: Path) -> None:
    one = replace(CONFIG, epochs=1)
    train(network(), ERM(), problem(), problem(seed=1), one, checkpoint=tmp_path)

    with pytest.raises(TrainingError, match=r"with objective = 'erm\(smoothing=0.0\)'"):
        train(network(), ERM(0.1), problem(), problem(seed=1), one, checkpoint=tmp_path)
    with pytest.raises(TrainingError, match="with data = 'sha256:"):
        train(network(), ERM(), problem(seed=2), problem(seed=1), one, checkpoint=tmp_path)


class Ramp(ERM):
    """A loss that depends on the share of the planned epochs."""

    planned_length = True

    @override
    def loss(self, classifier: nn.Module, batch: Batch, moment: Moment) -> Loss:
        plain = super().loss(classifier, batch, moment)
        return plain._replace(total=plain.total * moment.epoch / moment.epochs)


def test_a_training_of_another_length_goes_on_only_where_length_does_not_count(
    tmp_path: Path,
) -> None:
    one, more = replace(CONFIG, epochs=1), replace(CONFIG, epochs=2)
    for made in (ERM(), Ramp()):
        folder = tmp_path / type(made).__name__
        train(network(), made, problem(16), problem(seed=1), one, checkpoint=folder)
    longer = train(
        network(), ERM(), problem(16), problem(seed=1), more, checkpoint=tmp_path / "ERM"
    )

    assert len(longer.history) == 2
    with pytest.raises(TrainingError, match="made with epochs = 1, not 2"):
        train(network(), Ramp(), problem(16), problem(seed=1), more, checkpoint=tmp_path / "Ramp")


def test_the_loss_scaling_survives_a_checkpoint(tmp_path: Path) -> None:
    """Of float16, which needs a GPU to train; the scaling itself runs anywhere."""
    net = network()
    first = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for factor in (1.0, float("inf"), 1.0):  # the overflow halves the scale
        optimizer.zero_grad()
        first.scale(net(torch.ones(2, 3, 6, 6)).sum() * factor).backward()
        first.step(optimizer)
        first.update()
    checkpoints.save(
        tmp_path,
        network=net,
        optimizers={"all": optimizer},
        scaler=first,
        objective=ERM(),
        identity={},
        best={},
        best_epoch=0,
        value=0.0,
        history=[],
        config=CONFIG,
    )
    second = torch.amp.GradScaler("cpu")
    second.load_state_dict(checkpoints.load(tmp_path, torch.device("cpu")).scaler)

    assert second.state_dict() == first.state_dict()
    assert second.get_scale() == 512.0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="float16 needs a GPU")
def test_a_resumed_float16_training_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    config = replace(CONFIG, precision="float16", device="cuda", schedule="cosine")
    whole, resumed = network(), network()
    uninterrupted = train(whole, ERM(), problem(), problem(seed=1), config)
    asked = iter([False] * 15)  # ends in the third epoch
    train(
        network(),
        ERM(),
        problem(),
        problem(seed=1),
        config,
        should_stop=lambda: next(asked, True),
        checkpoint=tmp_path,
    )
    again = train(resumed, ERM(), problem(), problem(seed=1), config, checkpoint=tmp_path)

    assert [e.terms for e in again.history] == [e.terms for e in uninterrupted.history]


class Exploding(Objective):
    name = "exploding"

    @override
    def loss(self, classifier: nn.Module, batch: Batch, moment: Moment) -> Loss:
        total = classifier(batch.images).sum() * float("inf")
        return Loss(total, {})


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(108, 2))
    with pytest.raises(TrainingError, match=r"exploding is .* at step 0"):
        train(plain, Exploding(), problem(), problem(seed=1), CONFIG)


class Alternating(ERM):
    """Two phases; the second has a zero learning rate."""

    @property
    def phases(self) -> dict[str, float]:
        return {"label": 1.0, "still": 0.0}

    def phase(self, moment: Moment) -> str:
        return "label" if moment.step == 0 else "still"


def test_phases_have_optimisers_of_their_own() -> None:
    once, twice = network(), network()
    train(once, Alternating(), problem(16), problem(seed=1), replace(CONFIG, epochs=1))
    train(twice, Alternating(), problem(16), problem(seed=1), replace(CONFIG, epochs=3))

    learnt = [each for name, each in once.named_parameters()]

    assert all(torch.equal(a, b) for a, b in zip(learnt, twice.parameters(), strict=True))


class Still(ERM):
    """Label steps at even moments; the others are left out."""

    @override
    def skips(self, batch: Batch, moment: Moment) -> bool:
        return moment.step % 2 == 1


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_a_step_that_is_left_out_moves_nothing(kind: str) -> None:
    """Two epochs of one step, the second left out, end where one epoch ends."""
    config = replace(CONFIG, optimizer=kind, weight_decay=0.5, criterion="last", epochs=1)
    once, twice, without = network(), network(), network()
    train(once, Still(), problem(16), problem(seed=1), config)
    train(twice, Still(), problem(16), problem(seed=1), replace(config, epochs=2))
    train(without, ERM(), problem(16), problem(seed=1), replace(config, epochs=2))

    assert torch.equal(weights(once), weights(twice))
    assert not torch.equal(weights(once), weights(without))


class Sometimes(ERM):
    """A term of 1, 2, 3 … that every third step alone has."""

    @override
    def loss(self, classifier: nn.Module, batch: Batch, moment: Moment) -> Loss:
        plain = super().loss(classifier, batch, moment)
        rare = {"rare": torch.tensor(1.0 + moment.step)} if moment.step % 3 == 0 else {}
        return Loss(plain.total, plain.terms | rare)


def test_a_term_is_averaged_over_the_steps_that_had_it() -> None:
    events: list[Event] = []
    config = replace(CONFIG, epochs=1, report_every=5)
    train(network(), Sometimes(), problem(), problem(seed=1), config, progress=events.append)

    assert [event.terms["rare"] for event in events] == [(1 + 4) / 2, (1 + 4) / 2]


def test_reweighted_rows_of_weight_zero_do_not_count() -> None:
    rows = problem(32)
    flipped = replace(rows, labels=np.where(np.arange(32) < 16, 1 - rows.labels, rows.labels))
    objective = Reweighted(torch.tensor([0.0] * 16 + [1.0] * 16))
    net = network()
    train(net, objective, flipped, problem(seed=1), replace(CONFIG, epochs=20))
    result = train(net, ERM(), problem(), problem(seed=1), replace(CONFIG, learning_rate=1e-9))

    assert result.history[0].validation["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("schedule", "last"), [("constant", 1.0), ("linear", 0.01), ("cosine", 0)]
)
def test_the_schedule_rises_and_falls(schedule: str, last: float) -> None:
    config = replace(CONFIG, schedule=schedule, warmup=0.1)

    assert learning_rate(config, 0, 100) == pytest.approx(1 / 11)
    assert learning_rate(config, 10, 100) == 1.0
    assert learning_rate(config, 99, 100) == pytest.approx(last, abs=0.012)


def test_one_cycle_rises_falls_and_ends_at_nothing() -> None:
    config = replace(CONFIG, schedule="one_cycle")
    factors = [learning_rate(config, step, 100) for step in range(100)]

    assert factors[0] < 0.05
    assert int(np.argmax(factors)) == 30
    assert max(factors) == 1.0
    assert 0 < factors[-1] < 0.002
    assert factors[:31] == sorted(factors[:31])
    assert factors[30:] == sorted(factors[30:], reverse=True)
    assert learning_rate(config, 0, 1) > 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"schedule": "one_cycle", "warmup": 0.1}, "leave warmup at 0"),
        ({"schedule": "stairs"}, "none of constant, cosine, linear, one_cycle"),
        ({"backbone_rate": 1.5}, r"backbone_rate is 1.5; it lies in \[0, 1\]"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict, said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        replace(CONFIG, **wrong)


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_the_backbone_learns_at_its_own_rate(rate: float) -> None:
    def moved(config: TrainingConfig) -> list[float]:
        net = network()
        before = [each.detach().clone() for each in net.parameters()]
        train(net, ERM(), problem(), problem(seed=1), config)
        pairs = zip(before, net.parameters(), strict=True)
        return [float((one - two.detach()).abs().max()) for one, two in pairs]

    config = replace(CONFIG, epochs=1, batch_size=96, weight_decay=0.0)  # one step
    slow, whole = moved(replace(config, backbone_rate=rate)), moved(config)

    assert slow[-2:] == whole[-2:]
    assert slow[0] == pytest.approx(rate * whole[0], rel=1e-2, abs=1e-9)


def test_a_training_that_gives_everything_one_class_says_so() -> None:
    diverged = replace(CONFIG, epochs=1, learning_rate=1e-12)
    net = network()
    with torch.no_grad():
        net[-1].bias.copy_(torch.tensor([50.0, -50.0]))
    result = train(net, ERM(), problem(), problem(seed=1), diverged)

    assert "every validation image is 'dark'" in result.collapsed
    assert train(network(), ERM(), problem(), problem(seed=1), CONFIG).collapsed == ""


def test_depthwise_networks_learn_with_channels_last_and_are_left_as_found() -> None:
    torch.manual_seed(0)
    seen: list[bool] = []
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.Linear(32, 2)
    )
    net[1].register_forward_hook(
        lambda *_: seen.append(net[1].weight.stride() != net[1].weight.contiguous().stride())
    )
    net[0].register_forward_hook(
        lambda _, __, out: seen.append(out.is_contiguous(memory_format=torch.channels_last))
    )
    train(net, ERM(), problem(), problem(seed=1), replace(CONFIG, epochs=1))

    assert any(seen)
    assert all(each.is_contiguous() for each in net.parameters())


def test_large_images_are_evaluated_in_small_batches() -> None:
    sizes: list[int] = []
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    net.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    large = ImageSet(
        np.zeros((5, 1024, 1024, 3), np.uint8), np.zeros(5, np.int64), ("a", "b"), tuple("12345")
    )
    answers(net, large)

    assert sizes == [2, 2, 1]


def test_float16_on_a_cpu_is_refused() -> None:
    with pytest.raises(TrainingError, match="GPU"):
        train(network(), ERM(), problem(), problem(), replace(CONFIG, precision="float16"))


def test_bfloat16_trains() -> None:
    result = train(
        network(), ERM(), problem(), problem(seed=1), replace(CONFIG, precision="bfloat16")
    )

    assert result.history[-1].validation["accuracy"] > 0.9


class Frozen(ERM):
    freezes_batchnorm = True


@pytest.mark.parametrize("asked_by", ["nobody", "objective", "config"])
def test_frozen_batchnorm_keeps_its_statistics(asked_by: str) -> None:
    net = network()
    net[1].running_mean.fill_(0.3)  # as a pretrained network's
    before = net[1].running_mean.clone()
    made = Frozen() if asked_by == "objective" else ERM()
    config = replace(CONFIG, epochs=1, freeze_batchnorm=asked_by == "config")
    train(net, made, problem(), problem(seed=1), config)

    assert torch.equal(before, net[1].running_mean) == (asked_by != "nobody")
    assert net.training


@pytest.mark.parametrize("asked_by", ["objective", "config"])
def test_frozen_statistics_that_saw_no_image_are_warned_of(asked_by: str) -> None:
    net = network()
    made = Frozen() if asked_by == "objective" else ERM()
    frozen = replace(CONFIG, epochs=1, freeze_batchnorm=asked_by == "config")
    told = "erm keeps" if asked_by == "objective" else "freeze_batchnorm keeps"
    with pytest.warns(UserWarning, match=rf"{told} .* 1 of them have never seen an image \(1 "):
        train(net, made, problem(16), problem(seed=1), frozen)

    assert torch.equal(net[1].running_mean, torch.zeros(4))  # the consequence
    train(net, ERM(), problem(16), problem(seed=1), replace(CONFIG, epochs=1))
    train(net, made, problem(16), problem(seed=1), frozen)  # a warning here is an error


def test_statistics_that_were_loaded_without_a_count_are_no_reason_to_warn() -> None:
    net = network()
    state = network(seed=3).state_dict() | {"1.running_var": torch.full((4,), 0.7)}
    net.load_state_dict(state)

    assert int(net[1].num_batches_tracked) == 0
    train(net, Frozen(), problem(16), problem(seed=1), replace(CONFIG, epochs=1))


def test_freezing_batchnorm_is_answered_by_yes_or_no() -> None:
    with pytest.raises(TrainingError, match="freeze_batchnorm is 'False', not true or false"):
        TrainingConfig(freeze_batchnorm="False")
