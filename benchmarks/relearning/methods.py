"""The methods and their controls: an objective, its options, and the masks it is given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.training import generators
from models.training.image_sets import ImageSet

Masks = Callable[[ImageSet, int], ImageSet]


def true(rows: ImageSet, seed: int) -> ImageSet:
    """Give the masks as they are."""
    del seed
    return rows


def none(rows: ImageSet, seed: int) -> ImageSet:
    """Give no mask: must equal ERM."""
    del seed
    return generators.without_masks(rows)


def displaced(rows: ImageSet, seed: int) -> ImageSet:
    """Give masks of the same shape off the cue: what regularisation alone does."""
    return generators.displaced(rows, seed=seed)


def fifth(rows: ImageSet, seed: int) -> ImageSet:
    """Give masks on a fifth of the rows."""
    return generators.keeping(rows, 0.2, seed=seed)


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
        objective: Name in `models.training.methods`, or "tea", "jtt".
        options: The objective's options.
        masks: Which masks training sees.
        decay: Weight decay.
        rate: Factor on the task's learning rate.
        refines: Whether training begins with the weights of a trained ERM.
        rows: "training", or "ceiling" for the rows without the cue.
        only: Tasks it is for; empty for all.
        main: Whether `--quick` computes it.
        slow: Where one seed must do: everywhere (True), nowhere, or on the tasks with this prefix.
    """

    objective: str
    options: Mapping[str, Any] = field(default_factory=dict)
    masks: Masks = true
    decay: float = 1e-4
    rate: float = 1.0
    refines: bool = False
    rows: str = "training"
    only: tuple[str, ...] = ()
    main: bool = False
    slow: bool | str = False


METHODS: dict[str, Method] = {
    "trained without the cue": Method("erm", rows="ceiling", main=True),
    "ERM": Method("erm", main=True),
    "ERM, decay 0.1": Method("erm", decay=0.1),
    "ERM, decay 1": Method("erm", decay=1.0, main=True),
    "RRR": Method("rrr", {"weight": 10.0}, main=True),
    "RRR, weight 100": Method("rrr", {"weight": 100.0}),
    "RRR, weight 1000": Method("rrr", {"weight": 1000.0}, main=True),
    "RRR, random sign": Method("rrr", {"weight": 10.0, "scalar": "random_sign"}),
    "RRR, no masks": Method("rrr", {"weight": 10.0}, none, main=True),
    "RRR, displaced masks": Method("rrr", {"weight": 10.0}, displaced, main=True, slow=True),
    "RRR, a fifth of the masks": Method("rrr", {"weight": 10.0}, fifth),
    "Grad-CAM penalty": Method("gradcam_penalty", {"weight": 1.0}, main=True),
    "Grad-CAM penalty, displaced masks": Method("gradcam_penalty", {"weight": 1.0}, displaced),
    "HINT, matching": Method("hint_matching", {"weight": 0.1}),
    "HINT, ranking": Method("hint_ranking"),
    "RBR": Method("rbr", {"weight": 1e4}, slow=True),
    "CDEP": Method("cdep", {"weight": 10.0}),
    "Energy": Method("energy"),
    "eXBL": Method("exbl", refines=True, main=True, slow="D-"),
    "Counterexamples, noise": Method("counterexamples"),
    "Counterexamples, flat": Method("counterexamples", {"fill": "flat"}, main=True),
    "Counterexamples, displaced masks": Method(
        "counterexamples", {"fill": "flat"}, displaced, slow="D-"
    ),
    "Rand-Ex": Method("rand_ex"),
    "PGD-Ex": Method("pgd_ex", {"radius": 1.0}, main=True, slow=True),
    "PGD-Ex + gradient": Method("pgd_ex", {"radius": 1.0, "gradient": 10.0}, slow=True),
    "PGD-Ex, displaced masks": Method("pgd_ex", {"radius": 1.0}, displaced, slow=True),
    "IBP-Ex": Method("ibp_ex", {"radius": 1.0}),
    "IBP-Ex + gradient": Method("ibp_ex", {"radius": 1.0, "gradient": 10.0}, main=True, slow=True),
    "IBP-Ex, small box + gradient": Method(
        "ibp_ex", {"radius": 0.25, "gradient": 10.0}, only=("B",), slow=True
    ),
    "R4": Method("r4", {"weight": 15.0, "radius": 0.5}, slow=True),
    "Rand-R4": Method("rand_r4", slow=True),
    "Two-stage cycle": Method("two_stage"),
    "ISNet background": Method("isnet"),
    "RR-ClArC": Method("rr_clarc", refines=True),
    "GroupDRO": Method("group_dro"),
    "JTT": Method("jtt"),
    "TEA": Method("tea", only=("C", "A-digits"), main=True),
}  # fmt: skip


def chosen(task: str, named: Sequence[str], *, main: bool) -> list[str]:
    """Return the methods of a task in the table's order.

    Args:
        task: Its name.
        named: What its plan names; empty for all.
        main: Whether only the short list is wanted.
    """
    return [
        name
        for name, method in METHODS.items()
        if (not method.only or task in method.only)
        and (not named or name in named)
        and (method.main or not main)
    ]


def seeds(task: str, method: str, asked: int) -> int:
    """Return how many seeds a method is given on a task: one where it is slow."""
    slow = METHODS[method].slow
    return (
        min(asked, 1) if slow and task.startswith(slow if isinstance(slow, str) else "") else asked
    )
