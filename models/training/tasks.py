"""A task: what to learn from, and the test sets that tell whether a cue was learnt with it."""

from collections.abc import Mapping
from dataclasses import dataclass

from models.training.image_sets import ImageSet


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A data set with a known cue.

    Attributes:
        name: For example "D1".
        training: Rows that carry the cue; their masks mark it.
        validation: Held-out rows of the same distribution: model selection sees no other.
        tests: Named test sets. "correlated": the cue tells the label as in training; "random":
            it is independent of the label; "reversed": it tells another label; "clean": no cue.
            Which ones exist depends on the task.
        ceiling: The training rows without the cue: what could be reached.
    """

    name: str
    training: ImageSet
    validation: ImageSet
    tests: Mapping[str, ImageSet]
    ceiling: ImageSet
