"""What a step costs: seconds of each objective's step relative to ERM's, taken in turn."""

from collections.abc import Mapping
from time import perf_counter

import torch

from models import architectures
from models.architectures import Classifier
from models.modes import training_mode
from models.training.distillation import TEA
from models.training.methods import objective
from models.training.objectives import Batch, Moment, Objective

LIMITS = {"rrr": 2.2, "gradcam_penalty": 1.4, "tea": 4.0}
"""What was promised for ResNet-18 at batch 32 on a CPU, as a factor on ERM's step."""

_NAMES = ("rrr", "gradcam_penalty", "energy", "hint_matching", "exbl", "counterexamples", "tea")


def factors(*, side: int, batch: int, rounds: int) -> Mapping[str, float]:
    """Return the step cost of objectives on ResNet-18 as factors of ERM's.

    Objectives take turns within a round, so that a busy machine slows all of them; the fastest
    step of each counts.

    Args:
        side: Of the square images.
        batch: Rows per step.
        rounds: Steps of each.
    """
    network, teacher = _network(0), _network(1)
    rows = _batch(side, batch)
    made: dict[str, Objective] = {"erm": objective("erm")}
    for name in _NAMES:
        made[name] = TEA(teacher) if name == "tea" else objective(name)
    _exemplars(made["exbl"], network, rows)
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, each in made.items():
            seconds = _step(network, each, rows)
            best[name] = min(best.get(name, seconds), seconds)
    return {name: seconds / best["erm"] for name, seconds in best.items()}


def _network(seed: int) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        spec = architectures.default_spec("resnet18", [str(each) for each in range(10)])
        return architectures.build(spec).eval()


def _batch(side: int, count: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    cue = torch.zeros(count, side, side, dtype=torch.bool)
    cue[:, : side // 4, : side // 4] = True
    return Batch(
        images=torch.rand(count, 3, side, side, generator=generator),
        labels=torch.arange(count) % 10,
        relevant=~cue,
        irrelevant=cue,
        annotated=torch.ones(count, dtype=torch.bool),
        rows=torch.arange(count),
        groups=torch.arange(count) % 10,
    )


def _exemplars(each: Objective, network: Classifier, rows: Batch) -> None:
    """Give eXBL two exemplars of the right size; which ones costs nothing in a step."""
    from models.training.exemplary import Exemplar, ExemplaryLearning  # noqa: PLC0415  # here only

    if isinstance(each, ExemplaryLearning):
        grid = network.trace(rows.images[:1]).activation.shape[2:]
        flat = torch.ones(*grid) / grid.numel() ** 0.5
        each.good = Exemplar("good", 0, 1.0, flat)
        each.bad = Exemplar("bad", 1, 0.0, flat.flip(0) * torch.linspace(0, 1, grid[0])[:, None])


def _step(network: Classifier, each: Objective, rows: Batch) -> float:
    """Return the seconds of one forward and backward pass, in the modes of a training."""
    begun = perf_counter()
    with training_mode(network, freeze_batchnorm=each.freezes_batchnorm):
        each.loss(network, rows, Moment()).total.backward()
    seconds = perf_counter() - begun
    network.zero_grad(set_to_none=True)
    return seconds
