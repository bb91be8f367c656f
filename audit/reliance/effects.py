"""What an intervention did to the answers, one image at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.errors import ProbeError


@dataclass(frozen=True, slots=True)
class Effect:
    """What one intervention did to the answer for one image.

    Attributes:
        intervention: Which, for example "swap".
        flip: Whether the decided class changed.
        directed_flip: Whether it changed to the class that the new surroundings suggest; None
            where they suggest none, or the class that was decided before.
        probability_shift: Fall of the probability of the class decided before, in [-1, 1].
    """

    intervention: str
    flip: bool
    directed_flip: bool | None
    probability_shift: float


def effects(
    intervention: str,
    before: NDArray[np.floating],
    after: NDArray[np.floating],
    implied: Sequence[int | None] | None = None,
) -> tuple[Effect, ...]:
    """Compare the answers before and after an intervention.

    Args:
        intervention: Its name.
        before: Probabilities for the images, [N, classes].
        after: Probabilities for the probe images, [N, classes].
        implied: For each image the class that its new surroundings suggest, or None: the donor's
            label where it is known, else the class decided for the donor.

    Raises:
        ProbeError: If the answers do not fit each other, or are no probabilities.
    """
    _check(before, after)
    targets: Sequence[int | None] = [None] * len(before) if implied is None else implied
    if len(targets) != len(before):
        raise ProbeError(f"{len(targets)} implied classes for {len(before)} images")
    rows = np.arange(len(before))
    decided, changed = before.argmax(axis=1), after.argmax(axis=1)
    shifts = before[rows, decided].astype(np.float64) - after[rows, decided]
    return tuple(
        Effect(
            intervention=intervention,
            flip=bool(was != now),
            directed_flip=None if target is None or target == was else bool(now == target),
            probability_shift=float(shift),
        )
        for was, now, target, shift in zip(decided, changed, targets, shifts, strict=True)
    )


def _check(before: NDArray[np.floating], after: NDArray[np.floating]) -> None:
    if before.ndim != 2 or before.shape != after.shape or 0 in before.shape:  # noqa: PLR2004
        raise ProbeError(
            f"probabilities of shapes {before.shape} before and {after.shape} after; "
            "expected [images, classes] twice"
        )
    for name, each in (("before", before), ("after", after)):
        if not (each.min() >= 0.0 and each.max() <= 1.0 + 1e-4):
            raise ProbeError(f"values {name} are no probabilities")
