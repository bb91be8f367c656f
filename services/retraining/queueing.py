"""Whose turn it is: few retrainings learn at a time, the urgent ones first."""

from collections.abc import Sequence

from services.retraining.rows import PRIORITIES, Retraining

# What keeps a processor busy; a candidate that waits for a person or is on trial does not.
_BUSY = frozenset({"queued", "collect", "train", "export", "evaluate"})


def turn(
    waiting: Sequence[Retraining], begun: Sequence[Retraining], *, most: int
) -> Sequence[Retraining]:
    """Return which of the waiting ones begin now.

    Args:
        waiting: Not begun, in any order.
        begun: Begun and not ended.
        most: How many may learn at the same time.
    """
    busy = sum(each.step in _BUSY for each in begun)
    ordered = sorted(
        waiting,
        key=lambda each: (PRIORITIES.index(each.request.priority), each.retraining_id),
    )
    return ordered[: max(0, most - busy)]
