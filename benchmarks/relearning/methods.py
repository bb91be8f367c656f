"""The methods and their controls: an objective, its options, and the masks it is given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

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


def half(rows: ImageSet, seed: int) -> ImageSet:
    """Give masks on half of the rows."""
    return generators.keeping(rows, 0.5, seed=seed)


def tenth(rows: ImageSet, seed: int) -> ImageSet:
    """Give masks on a tenth of the rows."""
    return generators.keeping(rows, 0.1, seed=seed)


def shifted(rows: ImageSet, seed: int) -> ImageSet:
    """Give masks that are off by 1 to 3 pixels, as those of a careless hand are."""
    return generators.shifted(rows, seed=seed)


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
        objective: Name in `models.training.methods`, or "tea", "e2kd", "jtt".
        options: The objective's options.
        masks: Which masks training sees.
        decay: Weight decay; several are tried, and judged on a tenth of the training rows, which
            are as biased as the others.
        balanced: Whether the weight is found by the ratio of the terms (`balance.py`).
        rate: Factor on the task's learning rate.
        training: Settings of the trainer that differ from the task's, by their names.
        view: What the teacher of TEA sees: the student's images ("same"; it has learnt without
            the cue), or those with the irrelevant pixels black ("masked").
        refines: Whether training begins with the weights of a trained ERM.
        rows: "training", or "ceiling" for the rows without the cue.
        only: Tasks it is for, by their names' beginnings; empty for all.
        main: Whether `--quick` computes it.
        slow: Where one seed must do: everywhere (True), nowhere, or on the tasks with this prefix.
    """

    objective: str
    options: Mapping[str, Any] = field(default_factory=dict)
    masks: Masks = true
    decay: float | tuple[float, ...] = 1e-4
    balanced: bool = False
    rate: float = 1.0
    training: Mapping[str, Any] = field(default_factory=dict)
    view: Literal["same", "masked"] = "same"
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
    "ERM, tuned decay": Method("erm", decay=(0.01, 0.1, 1.0, 10.0)),
    "RRR": Method("rrr", {"weight": 10.0}, main=True),
    "RRR, weight 100": Method("rrr", {"weight": 100.0}),
    "RRR, weight 1000": Method("rrr", {"weight": 1000.0}, main=True),
    "RRR, random sign": Method("rrr", {"weight": 10.0, "scalar": "random_sign"}),
    "RRR, no masks": Method("rrr", {"weight": 10.0}, none, main=True),
    "RRR, displaced masks": Method("rrr", {"weight": 10.0}, displaced, main=True, slow=True),
    "RRR, half of the masks": Method("rrr", {"weight": 10.0}, half),
    "RRR, a fifth of the masks": Method("rrr", {"weight": 10.0}, fifth),
    "RRR, a tenth of the masks": Method("rrr", {"weight": 10.0}, tenth),
    "RRR, shifted masks": Method("rrr", {"weight": 10.0}, shifted),
    "RRR, balanced": Method("rrr", balanced=True, only=("D-",)),
    "RRR, balanced, displaced masks": Method(
        "rrr", masks=displaced, balanced=True, only=("D-",), slow=True
    ),
    "Grad-CAM penalty": Method("gradcam_penalty", {"weight": 1.0}, main=True),
    "Grad-CAM penalty, displaced masks": Method("gradcam_penalty", {"weight": 1.0}, displaced),
    "Grad-CAM penalty, balanced": Method("gradcam_penalty", balanced=True, only=("D-",)),
    "HINT, matching": Method("hint_matching", {"weight": 0.1}),
    "HINT, displaced masks": Method("hint_matching", {"weight": 0.1}, displaced, slow=True),
    "HINT, ranking": Method("hint_ranking"),
    "RBR": Method("rbr", {"weight": 1e4}, slow=True),
    "RBR, displaced masks": Method("rbr", {"weight": 1e4}, displaced, slow=True),
    "CDEP": Method("cdep", {"weight": 10.0}),
    "CDEP, displaced masks": Method("cdep", {"weight": 10.0}, displaced, slow=True),
    "Energy": Method("energy"),
    "Energy, displaced masks": Method("energy", {}, displaced, slow=True),
    "eXBL": Method("exbl", refines=True, main=True, slow="D-"),
    "Counterexamples, noise": Method("counterexamples"),
    "Counterexamples, flat": Method("counterexamples", {"fill": "flat"}, main=True),
    "Counterexamples, a fifth of the masks": Method("counterexamples", {"fill": "flat"}, fifth),
    "Counterexamples, shifted masks": Method("counterexamples", {"fill": "flat"}, shifted),
    "Counterexamples, displaced masks": Method("counterexamples", {"fill": "flat"}, displaced),
    "Counterexamples, exchange": Method(
        "counterexamples", {"fill": "exchange"}, only=("D-cxr", "D-objects")
    ),
    "Counterexamples, exchange alone": Method(
        "counterexamples", {"fill": "exchange", "share": 1.0}, only=("D-cxr", "D-objects")
    ),
    "Counterexamples, exchange, displaced masks": Method(
        "counterexamples", {"fill": "exchange"}, displaced, only=("D-cxr", "D-objects"), slow=True
    ),
    "Counterexamples, other surroundings": Method(
        "counterexamples", {"fill": "other"}, only=("D-isic",)
    ),
    "Counterexamples, other surroundings alone": Method(
        "counterexamples", {"fill": "other", "share": 1.0}, only=("D-isic",)
    ),
    "Counterexamples, other surroundings, displaced masks": Method(
        "counterexamples", {"fill": "other"}, displaced, only=("D-isic",), slow=True
    ),
    "Rand-Ex": Method("rand_ex"),
    "PGD-Ex": Method("pgd_ex", {"radius": 1.0}, main=True, slow=True),
    "PGD-Ex + gradient": Method("pgd_ex", {"radius": 1.0, "gradient": 10.0}, slow=True),
    "PGD-Ex, displaced masks": Method("pgd_ex", {"radius": 1.0}, displaced, slow=True),
    "IBP-Ex": Method("ibp_ex", {"radius": 1.0}),
    "IBP-Ex, displaced masks": Method("ibp_ex", {"radius": 1.0}, displaced, slow=True),
    "IBP-Ex + gradient": Method("ibp_ex", {"radius": 1.0, "gradient": 10.0}, main=True, slow=True),
    "IBP-Ex, small box + gradient": Method(
        "ibp_ex", {"radius": 0.25, "gradient": 10.0}, only=("B",), slow=True
    ),
    "R4": Method("r4", {"weight": 15.0, "radius": 0.5}, slow=True),
    "R4, displaced masks": Method("r4", {"weight": 15.0, "radius": 0.5}, displaced, slow=True),
    "Rand-R4": Method("rand_r4", slow=True),
    "Alternating RRR": Method("alternating_rrr"),
    "Alternating RRR, displaced masks": Method("alternating_rrr", {}, displaced, slow=True),
    "ISNet background": Method("isnet"),
    "ISNet, displaced masks": Method("isnet", {}, displaced, slow=True),
    "RR-ClArC": Method("rr_clarc", refines=True),
    "RR-ClArC, displaced masks": Method("rr_clarc", {}, displaced, refines=True, slow=True),
    "GroupDRO": Method("group_dro"),
    "JTT": Method("jtt"),
    "e2KD": Method("e2kd", only=("C", "A-digits")),
    "TEA": Method("tea", only=("C", "A-digits"), main=True),
}  # fmt: skip


MASKS: Mapping[str, Masks] = {
    each.__name__: each for each in (true, none, displaced, fifth, half, tenth, shifted)
}


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
        if (not method.only or task.startswith(method.only))
        and (not named or name in named)
        and (method.main or not main)
    ]


def seeds(task: str, method: str, asked: int) -> int:
    """Return how many seeds a method is given on a task: one where it is slow."""
    slow = METHODS[method].slow
    return (
        min(asked, 1) if slow and task.startswith(slow if isinstance(slow, str) else "") else asked
    )
