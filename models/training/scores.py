"""What a network answers on an image set, and the plain figures that choose an epoch."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from models.modes import evaluation_mode
from models.training.batches import batches
from models.training.image_sets import ImageSet

# Of one batch without gradients: 512 images of 64 x 64, and 41 of 224 x 224.
_PIXELS = 2**21


class Answers(NamedTuple):
    """A network's answers on one set, in the order of its rows.

    Attributes:
        logits: float32 [M, K].
        labels: int64 [M].
        groups: int64 [M].
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each row's most probable class is its label, bool [M]."""
        correct: NDArray[np.bool_] = self.logits.argmax(axis=1) == self.labels
        return correct


def answers(network: nn.Module, rows: ImageSet, size: int = 512) -> Answers:
    """Return the logits of all rows in eval mode, without gradients; modes are left as found.

    At most `size` rows are asked at once, and fewer where the images are large.
    """
    size = min(size, max(1, _PIXELS // (rows.images.shape[1] * rows.images.shape[2])))
    device = next(network.parameters()).device
    with evaluation_mode(network), torch.no_grad():
        logits = [
            network(batch.images.to(device)).float().cpu().numpy() for batch in batches(rows, size)
        ]
    return Answers(np.concatenate(logits), rows.labels, rows.subpopulations)


def accuracies(network: nn.Module, rows: ImageSet, size: int = 512) -> Mapping[str, float]:
    """Return accuracy, mean cross-entropy ("loss"), and the worst class's and group's accuracy."""
    found = answers(network, rows, size)
    loss = functional.cross_entropy(torch.from_numpy(found.logits), torch.from_numpy(found.labels))
    return {
        "accuracy": float(found.correct.mean()),
        "loss": float(loss),
        "worst_class": worst(found.correct, found.labels),
        "worst_group": worst(found.correct, found.groups),
    }


def worst(correct: NDArray[np.bool_], groups: NDArray[np.int64]) -> float:
    """Return the lowest accuracy of a group that has rows."""
    return min(float(correct[groups == group].mean()) for group in np.unique(groups))
