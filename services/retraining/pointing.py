"""What registry and record of retrainings say of a model, as a verdict needs it."""

from datetime import datetime

from audit.standing import Pointer
from models.registry import Registry
from services.retraining.rows import Rows


def pointer(registry: Registry, retrainings: Rows, model: str) -> Pointer:
    """Return which version answers, since when, what is on trial and whether one is learning.

    Raises:
        RegistryError: If there is no such model, or its pointer cannot be read.
    """
    found = registry.pointer(model)
    trial = found.rollout
    return Pointer(
        version=found.version,
        promoted=datetime.fromisoformat(found.history[-1].at) if found.history else None,
        trial=(trial.version, trial.phase) if trial else None,
        retraining=retrainings.active(model) is not None,
    )
