"""Every objective by its name: for recipes, the command line, benchmarks, the contract suite."""

import warnings
from collections.abc import Mapping
from typing import Any

from models.errors import TrainingError
from models.training import options as plain_options
from models.training.alternating import AlternatingRRR
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
    AlternatingRRR,
    ISNet,
    RRClArC,
    GroupDRO,
)
BY_NAME: Mapping[str, type[Objective]] = {each.name: each for each in _LISTED}
"""Objectives that options alone can make; those with a teacher are in `teaching`, methods of
several trainings in `procedures`."""

_RENAMED: Mapping[str, str] = {"two_stage": AlternatingRRR.name}


def current(name: str) -> str:
    """Return what an objective is called now; a former name is warned of and taken."""
    if name in _RENAMED:
        warnings.warn(
            f"the objective {name} is called {_RENAMED[name]} now; Tao and Shokri's method of two "
            "stages is two_stage_mapping",
            stacklevel=3,
        )
    return _RENAMED.get(name, name)


def objective(name: str, options: Mapping[str, Any] | None = None) -> Objective:
    """Return a fresh objective.

    Args:
        name: One of `BY_NAME`.
        options: Its attributes by name; what is not given keeps its default.

    Raises:
        TrainingError: If the name or an option is unknown; the message lists what exists.
    """
    name = current(name)
    if name not in BY_NAME:
        raise TrainingError(f"objective {name!r} is none of {', '.join(BY_NAME)}")
    return plain_options.made(BY_NAME[name], name, options or {})


def option_names(name: str) -> list[str]:
    """Return the options of an objective of `BY_NAME`; none for any other name."""
    name = _RENAMED.get(name, name)
    return plain_options.names(BY_NAME[name]) if name in BY_NAME else []
