"""Every objective by its name: for recipes, the command line, benchmarks, the contract suite."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from models.errors import TrainingError
from models.training.exemplary import ExemplaryLearning
from models.training.losses.cdep import CDEP
from models.training.losses.counterexamples import Counterexamples
from models.training.losses.energy import Energy
from models.training.losses.gradcam_penalty import GradCAMPenalty
from models.training.losses.group_dro import GroupDRO
from models.training.losses.hint import HINTMatching, HINTRanking
from models.training.losses.isnet import ISNet
from models.training.losses.rbr import RBR
from models.training.losses.rrclarc import RRClArC
from models.training.losses.rrr import RRR
from models.training.objectives import ERM, Objective
from models.training.r4 import R4, RandR4
from models.training.robust import IBPEx, PGDEx, RandEx
from models.training.two_stage import TwoStage

_LISTED: tuple[type[Objective], ...] = (
    ERM,
    RRR,
    GradCAMPenalty,
    HINTRanking,
    HINTMatching,
    RBR,
    CDEP,
    Energy,
    ExemplaryLearning,
    Counterexamples,
    RandEx,
    PGDEx,
    IBPEx,
    R4,
    RandR4,
    TwoStage,
    ISNet,
    RRClArC,
    GroupDRO,
)
BY_NAME: Mapping[str, type[Objective]] = {each.name: each for each in _LISTED}
"""Objectives that options alone can make; TEA needs a teacher (`distillation.TEA`)."""


def objective(name: str, options: Mapping[str, Any] | None = None) -> Objective:
    """Return a fresh objective.

    Args:
        name: One of `BY_NAME`.
        options: Its attributes by name; what is not given keeps its default.

    Raises:
        TrainingError: If the name or an option is unknown; the message lists what exists.
    """
    if name not in BY_NAME:
        raise TrainingError(f"objective {name!r} is none of {', '.join(BY_NAME)}")
    given = dict(options or {})
    known = option_names(name)
    unknown = sorted(given.keys() - known)
    if unknown:
        raise TrainingError(f"{name} has no option {unknown[0]!r}; it has {', '.join(known)}")
    ready = {key: tuple(each) if isinstance(each, list) else each for key, each in given.items()}
    return BY_NAME[name](**ready)


def option_names(name: str) -> list[str]:
    """Return the options of an objective: its attributes that are plain values."""
    return [
        each.name
        for each in fields(BY_NAME[name])  # type: ignore[arg-type]  # all listed are dataclasses
        if each.repr and each.default is not MISSING
    ]
