"""Training steps of one process of several, for the test that compares them with a single one."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from models.architectures import Classifier, build, default_spec
from models.training.batches import batch_of
from models.training.image_sets import ImageSet
from models.training.methods import objective
from models.training.objectives import LossModule, Moment

# Those whose loss is a mean over rows without a draw, and GroupDRO, which adds up over processes.
OBJECTIVES: dict[str, dict[str, float]] = {
    "erm": {},
    "rrr": {"weight": 3.0},
    "gradcam_penalty": {"weight": 2.0},
    "hint_matching": {},
    "energy": {},
    "cdep": {},
    "pgd_ex": {"gradient": 0.5, "steps": 2},
    "ibp_ex": {"trust": 0.9, "start": 0.05},
    "group_dro": {"step": 0.5, "adjustment": 0.3},
}
STEPS, BATCH = 4, 8


def discs(count: int) -> ImageSet:
    """Bright and dark discs with a region each, in groups of unequal size."""
    draw = np.random.default_rng(0)
    labels = np.arange(count) // 2 % 2
    images = draw.integers(40, 90, (count, 16, 16, 3))
    images[:, 5:11, 5:11] += (110 * labels)[:, None, None, None]
    relevant = np.zeros((count, 16, 16), bool)
    relevant[:, 5:11, 5:11] = True
    names = tuple(map(str, range(count)))
    return ImageSet(
        images.astype(np.uint8),
        labels,
        ("dark", "bright"),
        names,
        relevant=relevant,
        groups=draw.choice(4, count, p=(0.5, 0.3, 0.15, 0.05)),
    )


def steps(name: str, rows: ImageSet, *, rank: int, world: int, wrap: bool) -> Classifier:
    """Return a classifier after some steps on this process's share of every batch.

    Args:
        name: The objective.
        rows: The data, the same in every process.
        rank: Which process this is.
        world: How many there are.
        wrap: Whether the processes average their gradients.
    """
    torch.manual_seed(0)
    classifier = build(default_spec("small_cnn", ["dark", "bright"], height=16)).double()
    classifier.eval()  # statistics of the joint batch are another matter: SyncBatchNorm
    made = objective(name, OBJECTIVES[name])
    made.begin(classifier, rows)
    module = LossModule(classifier, made)
    wrapped = DistributedDataParallel(module) if wrap else module
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.05, momentum=0.9)
    for step in range(STEPS):
        whole = torch.arange(step * BATCH, (step + 1) * BATCH).numpy()
        batch = batch_of(rows, whole[rank::world])
        optimizer.zero_grad()
        loss = wrapped(batch.showing(batch.images.double()), Moment(step=step))
        loss.total.backward()
        optimizer.step()
    return classifier


def work(rank: int, world: int, folder: str) -> None:
    """Take the steps of every objective as one of `world` processes; the first writes weights."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world
    )
    try:
        for name in OBJECTIVES:
            classifier = steps(name, discs(STEPS * BATCH), rank=rank, world=world, wrap=True)
            if rank == 0:
                save_file(classifier.state_dict(), Path(folder) / f"{name}.safetensors")
    finally:
        distributed.destroy_process_group()
