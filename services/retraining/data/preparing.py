"""What a training process is given: rows, a way of learning, and weights to begin with."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from audit.change_control import ChangePlan
from models.registry import Registry, Version
from models.segmenters import Segmenter
from models.training.image_sets import ImageSet
from services.records.images import ImageFolder
from services.records.stores import StoreReader
from services.retraining import choosing, files, teaching
from services.retraining.choosing import Choice
from services.retraining.data import bases, catching_up, collecting, marking, withdrawing
from services.retraining.data.bases import Base
from services.retraining.data.collecting import Collected
from services.retraining.files import Folder
from services.retraining.rows import Request
from services.retraining.teaching import Teacher
from services.settings import Settings

LOG = logging.getLogger("rightly.runner")
_NUMBERS = ("epochs", "learning_rate", "seed")
_FEWEST = 20  # masked validation rows; of fewer nobody can tell who leans on what
_WHOLE = ("epochs", "seed")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was found while preparing.

    Attributes:
        facts: For the record: champion, data, plan, choice.
        said: A line for the log of events.
    """

    facts: Mapping[str, Any]
    said: str


class _Known(NamedTuple):
    """What stands before anything is collected."""

    champion: Version
    base: Base
    teacher: Teacher | None
    segmenter: Segmenter | None


def prepare(
    chosen: Settings, registry: Registry, plan: ChangePlan, request: Request, here: Folder
) -> Prepared:
    """Gather the data, choose how to learn, and write both down for the training process.

    Args:
        chosen: Where images and store are.
        registry: Where champion and teacher are.
        plan: What is allowed.
        request: What was asked for.
        here: Where it is written.

    Raises:
        DatasetError: If the champion's data are not there any more.
        TrainingError: If nothing is known that could be learnt from.
        OutsidePlanError: If the plan does not allow the data.
    """
    champion = registry.champion(request.model)
    teacher = teaching.teacher_of(registry, plan, champion)
    segmenter: Segmenter | None = None
    if teacher is None and marking.has_relevance(champion):
        segmenter = marking.segmenter_of(registry.root, request.model)
    known = _Known(champion, bases.base_of(champion), teacher, segmenter)
    _catch_up(chosen)
    # What is erased meanwhile leaves these files as soon as they are whole.
    with withdrawing.collecting(chosen.retrainings):
        return _prepared(chosen, plan, request, here, known)


def _prepared(
    chosen: Settings, plan: ChangePlan, request: Request, here: Folder, known: _Known
) -> Prepared:
    champion, base = known.champion, known.base
    collected = _collected(chosen, champion, base)
    training, validation = collecting.with_base(base.training, collected), base.validation
    told = int(training.known.sum())
    if known.segmenter is not None:
        training, validation = (
            marking.marked(each, known.segmenter) for each in (training, validation)
        )
    choice = _chosen(request, champion, training, collected, teacher=known.teacher, told=told)
    plan.admit_data(
        sources={"base": len(base.training), **collected.sources},
        annotated=int(training.known.sum()) + sum(map(len, _reviewed(collected, champion))),
        actors=collected.actors,
    )
    sets = {"training": training, "validation": validation, "locked": base.locked}
    for name, rows in sets.items():
        here.write_set(name, rows)
    told_to = _recipe(champion, choice, request.hyperparameters)
    # A teacher that has to be trained first knows more than a brief training could show.
    teaches = choice.objective == "tea" and choice.teacher is None
    if request.objective == "auto" and plan.auto.minutes and not teaches and _judges(validation):
        told_to["tournament"] = _tournament(champion, choice, plan)
    here.write_json("recipe.json", told_to)
    here.write_json("manifest.json", _manifest(training.digest, base, collected))
    return Prepared(
        {
            "champion": champion.ref.version,
            "dataset": training.digest,
            "plan": plan.digest,
            "objective": choice.objective,
            "choice": choice.reason,
            "rows": {"base": len(base.training), **collected.sources},
        },
        f"{len(training)} rows; {choice.objective}, because {choice.reason}",
    )


def _chosen(
    request: Request,
    champion: Version,
    training: ImageSet,
    collected: Collected,
    *,
    teacher: Teacher | None,
    told: int,
) -> Choice:
    """Choose how to learn; `told` rows had a region before a segmenter marked any."""
    right, wrong = _reviewed(collected, champion)
    annotated = int(training.known.sum())
    return choosing.choose(
        request.objective,
        annotated=annotated,
        rows=len(training),
        right=right,
        wrong=wrong,
        teacher=teacher,
        segmented=annotated - told,
        hyperparameters=request.hyperparameters,
    )


def _reviewed(collected: Collected, champion: Version) -> tuple[list[str], list[str]]:
    """Return the rows that are right for the right and for the wrong reason."""
    named = f"{champion.ref.name}@{champion.ref.version}"
    right, wrong = (
        collected.reviewed(f"{each}-reason", champion=named) for each in ("right", "wrong")
    )
    return right, wrong


def _catch_up(chosen: Settings) -> None:
    """Wait for the auditor; not while it may have to wait for us."""
    store = StoreReader(chosen.store)
    try:
        reading = store()
        if reading is not None and not catching_up.wait(chosen.journal, reading):
            LOG.warning("the auditor lags behind; what it has not taken in is not learnt from")
    finally:
        store.close()


def _collected(chosen: Settings, champion: Version, base: Base) -> Collected:
    store = StoreReader(chosen.store)
    try:
        return collecting.collect(
            store(),
            champion.ref.name,
            champion.card.spec,
            ImageFolder(chosen.images),
            base.locked,
        )
    finally:
        store.close()


def _recipe(champion: Version, choice: Choice, hyper: Mapping[str, float]) -> dict[str, Any]:
    """Return what the training process is to do."""
    numbers: dict[str, float] = {key: hyper[key] for key in _NUMBERS if key in hyper}
    whole = {key: int(numbers[key]) for key in _WHOLE if key in numbers}
    weights = str((champion.folder / files.WEIGHTS).absolute())
    first = bases.first_weights(champion)
    return {
        "spec": asdict(champion.card.spec),
        "objective": choice.objective,
        "options": dict(choice.options),
        "good": choice.good,
        "bad": choice.bad,
        "teacher": None if choice.teacher is None else choice.teacher.to_json(),
        "training": {**bases.recipe_of(champion), **numbers, **whole},
        "begins_with": first,
        "weights": weights if choice.continues else first,
        "champion_weights": weights,
    }


def _judges(validation: ImageSet) -> bool:
    """Whether the validation rows have masks enough to tell who leans on what."""
    _, irrelevant = validation.masks(np.arange(len(validation)))
    shares = irrelevant.mean(axis=(1, 2))
    return int(((shares > 0) & (shares < 1)).sum()) >= _FEWEST


def _tournament(champion: Version, choice: Choice, plan: ChangePlan) -> dict[str, Any]:
    """Return who takes part, each with what a recipe says of its way of learning."""
    listed = choosing.entrants(choice, plan.may_change.objective)
    names = ("objective", "options", "good", "bad", "teacher", "weights")
    return {
        "minutes": plan.auto.minutes,
        "entrants": [
            {name: told[name] for name in names}
            for told in (_recipe(champion, each, {}) for each in listed)
        ],
    }


def _manifest(digest: str, base: Base, collected: Collected) -> dict[str, Any]:
    """Return where the rows come from."""
    return {
        "digest": digest,
        "base": {**base.origin, "rows": len(base.training)},
        "units": base.units.tolist(),
        "collected": list(collected.provenance),
        "left_out": dict(collected.left_out),
        "quarantined": list(collected.quarantined),
    }
