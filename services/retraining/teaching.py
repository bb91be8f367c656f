"""Who teaches: a version of the registry that the change-control plan names for a model.

A teacher has learnt without the cue, so what it looks at is what a student should look at. TEA
copies its last layer, so it has the student's architecture, head and classes.
"""

from dataclasses import asdict, dataclass
from typing import Any

from audit.change_control import ChangePlan
from audit.errors import PlanError
from models import contract
from models.registry import Registry, Version


@dataclass(frozen=True, slots=True)
class Teacher:
    """A teacher.

    Attributes:
        name: Model and version, "name@version".
        weights: File of its weights.
        spec: What it is, as `models.specs` writes it.
    """

    name: str
    weights: str
    spec: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return what the training process needs."""
        return asdict(self)


def teacher_of(registry: Registry, plan: ChangePlan, champion: Version) -> Teacher | None:
    """Return the teacher of a champion's model; None where the plan names none.

    Raises:
        PlanError: If the plan names a teacher of another kind than the champion.
        UnknownModelError: If the registry has no such version.
        CorruptVersionError: If the teacher's files are not what its card says.
    """
    named = dict(each.split("=", 1) for each in plan.data.teachers).get(champion.ref.name)
    if named is None:
        return None
    model, _, version = named.partition("@")
    found = registry.version(model, int(version))
    registry.verify(found)
    ours, theirs = champion.card.spec, found.card.spec
    for what in ("architecture", "head", "classes"):
        if getattr(ours, what) != getattr(theirs, what):
            raise PlanError(
                f"teacher {named} has {what} {getattr(theirs, what)!r}, the champion of "
                f"{champion.ref.name} has {getattr(ours, what)!r} (data.teachers)"
            )
    weights = str((found.folder / contract.WEIGHTS).absolute())
    return Teacher(named, weights, asdict(theirs))
