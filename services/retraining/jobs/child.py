"""The process that trains and exports; it knows its folder and nothing else of the retraining.

    python -m services.retraining.jobs.child train|export FOLDER ATTEMPT

It may be killed at any moment. A later attempt goes on from the newest checkpoint of the earlier
ones, and what it publishes lies in its own attempt's folder, so a late one harms nobody.
"""

import ctypes
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from models import architectures, export, sanity, specs
from models.architectures import Classifier
from models.errors import ExportError, TrainingError
from models.training import building, checkpoints, methods
from models.training.distillation import TEA, masked_images
from models.training.exemplary import ExemplaryLearning, exemplar_of
from models.training.image_sets import ImageSet
from models.training.objectives import ERM, Objective
from models.training.optimizers import TrainingConfig
from models.training.teaching import blackened
from models.training.trainer import Event, train
from services.retraining import files
from services.retraining.files import Folder
from services.retraining.jobs import progress, tournament

_PARITY_IMAGES = 64
_STOPPED = 75  # exit code of a training that was asked to end
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def main(verb: str, folder: Path, attempt: int) -> int:
    """Do one job; return the exit code."""
    _die_with_parent()
    torch.set_num_threads(1)  # serving keeps its core, and the same steps give the same bits
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    here = Folder(folder)
    if verb == "export":
        _export(here, attempt)
        return 0
    return _train(here, attempt, lambda: bool(stopped))


def _train(here: Folder, attempt: int, should_stop: Callable[[], bool]) -> int:
    recipe = here.read_json("recipe.json")
    target = here.attempt(attempt)
    target.mkdir(parents=True, exist_ok=True)
    _take_checkpoint(here, attempt)
    training, validation = here.read_set("training"), here.read_set("validation")
    decided = _decided(here, recipe, target, (training, validation), should_stop)
    if decided is None:
        return _STOPPED
    recipe = decided
    classifier = _network(recipe)
    config = replace(TrainingConfig(**recipe["training"]), device="auto", report_every=0)
    if recipe["objective"] == TEA.name and recipe["teacher"] is None:
        teacher = _trained_teacher(recipe, config, (training, validation), target, should_stop)
        if teacher is None:
            return _STOPPED
        objective: Objective = TEA(teacher, view=masked_images)
    else:
        objective = _objective(recipe, training)
    _say(
        f"{recipe['objective']} on {len(training)} rows, {config.epochs} epochs, attempt {attempt}"
    )
    result = train(
        classifier,
        objective,
        training,
        validation,
        config,
        progress=_Progress(target / progress.FILE),
        should_stop=should_stop,
        checkpoint=target / files.CHECKPOINT,
    )
    if result.cancelled:
        _say("asked to end")
        return _STOPPED
    draft = target / f".{files.WEIGHTS}"
    architectures.save_weights(classifier.cpu().eval(), draft)
    draft.replace(target / files.WEIGHTS)
    last = result.history[-1]
    trained = {
        "best_epoch": result.best_epoch,
        "provenance": dict(result.provenance),
        "validation": dict(last.validation or {}),
        "attempt": attempt,
        "collapsed": result.collapsed,
    }
    Folder(target).write_json(files.TRAINED, trained)
    return 0


def _decided(
    here: Folder,
    recipe: dict[str, Any],
    target: Path,
    sets: tuple[ImageSet, ImageSet],
    should_stop: Callable[[], bool],
) -> dict[str, Any] | None:
    """Return the recipe with the winner of its tournament, if it asks for one; None if stopped.

    The recipe is written anew, so that a later attempt goes on with the same winner.
    """
    asked = recipe.get("tournament")
    if asked is None:
        return recipe
    entrants, end = asked["entrants"], time.monotonic() + 60 * float(asked["minutes"])
    training, held = tournament.subset(sets[0]), tournament.masked(sets[1])

    def over() -> bool:
        return should_stop() or time.monotonic() > end

    def learn(number: int, epochs: int) -> tournament.Figures | None:
        told = {**recipe, **entrants[number]}
        config = TrainingConfig(**{**recipe["training"], "epochs": epochs})
        config = replace(config, device="auto", report_every=0)
        _say(f"{told['objective']} {told['options']} takes part, {epochs} epochs")
        classifier = _network(told)
        report = _Progress(target / progress.TOURNAMENT)
        result = train(
            classifier, _objective(told, training), training, sets[1], config,
            progress=report, should_stop=over,
        )  # fmt: skip
        if result.cancelled:
            return None
        if result.collapsed:
            raise TrainingError(result.collapsed)
        return tournament.figures(classifier.cpu().eval(), held)

    plain = TrainingConfig(**recipe["training"])
    judged = tournament.hold(
        len(entrants),
        tournament.lengths(plain.epochs, -(-len(training) // plain.batch_size)),
        learn,
        rows=len(training),
        told=lambda seen: _say(f"{seen[-1].to_json()}"),
    )
    if should_stop():
        return None
    won = tournament.winner(judged)
    reason = tournament.reason(entrants, judged, won)
    shown = tournament.table(entrants, judged, won)
    here.write_json(files.TOURNAMENT, {"entrants": shown, "reason": reason})
    chosen = here.read_json("recipe.json")  # exemplars may have been erased meanwhile
    listed = chosen.pop("tournament")["entrants"]
    if won is not None:
        chosen |= listed[won]
    here.write_json("recipe.json", chosen)
    _say(reason)
    return chosen


def _export(here: Folder, attempt: int) -> None:
    """Write the graphs beside the weights of the training attempt, once they agree with torch."""
    recipe = here.read_json("recipe.json")
    source = here.attempt(attempt)
    draft, final = source / ".exported", source / "exported"
    if final.is_dir():
        return
    shutil.rmtree(draft, ignore_errors=True)
    classifier = architectures.build(specs.from_mapping(recipe["spec"]))
    architectures.load_weights(classifier, source / files.WEIGHTS)
    locked = here.read_set("locked")
    samples = locked.images[:: max(1, len(locked) // _PARITY_IMAGES)][:_PARITY_IMAGES]
    try:
        parity = export.export(
            classifier.eval(), draft / "version", samples=samples.astype(np.uint8)
        )
    except ExportError as error:
        raise export.kept(error, source / files.WEIGHTS, "NAME") from error
    Folder(draft).write_json("parity.json", parity.to_mapping())
    reactions = sanity.randomisation(classifier, samples.astype(np.uint8))
    Folder(draft).write_json(files.SANITY, reactions)
    draft.replace(final)
    _say(f"exported, compared with torch on {len(samples)} images")


def _network(recipe: Mapping[str, Any]) -> Classifier:
    """Return the classifier before training.

    Fresh by the seed, or with the published weights that the champion began with, or the champion.
    """
    weights = recipe["weights"]
    begun = building.first_weights(weights) if weights != recipe["champion_weights"] else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe["training"].get("seed", 0))
        classifier = architectures.build(
            specs.from_mapping(recipe["spec"]), pretrained_state=begun
        )
    if weights and begun is None:
        architectures.load_weights(classifier, Path(weights))
    return classifier


def _objective(recipe: Mapping[str, Any], training: ImageSet) -> Objective:
    if recipe["objective"] == TEA.name:
        return TEA(_teacher(recipe["teacher"]))
    made = methods.objective(recipe["objective"], recipe["options"])
    if isinstance(made, ExemplaryLearning) and recipe["good"] and recipe["bad"]:
        reviewed = _network({**recipe, "weights": recipe["champion_weights"]}).eval()
        # What the reviewer saw: the champion's explanations.
        made.good, made.bad = (
            exemplar_of(reviewed, training, training.ids.index(recipe[kind]), "review")
            for kind in ("good", "bad")
        )
    return made


def _trained_teacher(
    recipe: Mapping[str, Any],
    config: TrainingConfig,
    sets: tuple[ImageSet, ImageSet],
    target: Path,
    should_stop: Callable[[], bool],
) -> Classifier | None:
    """Train a teacher by its labels on rows whose irrelevant pixels are black; None if stopped.

    It begins with other fresh weights than its student, or with the same published ones.
    """
    training, validation = map(blackened, sets)
    other = {**recipe["training"], "seed": recipe["training"].get("seed", 0) + 1}
    teacher = _network({**recipe, "training": other})
    _say("a teacher first, on images without what is irrelevant")
    result = train(
        teacher,
        ERM(),
        training,
        validation,
        replace(config, seed=other["seed"]),
        progress=_Progress(target / progress.TEACHER),
        should_stop=should_stop,
        checkpoint=target / files.TEACHER,
    )
    return None if result.cancelled else teacher.cpu().eval()


def _teacher(told: Mapping[str, Any]) -> Classifier:
    """Return the teacher, which has learnt without the cue and sees the images as they are."""
    teacher = architectures.build(specs.from_mapping(told["spec"]))
    architectures.load_weights(teacher, Path(told["weights"]))
    return teacher.eval()


class _Progress:
    """Appends one line per epoch: the progress, and the sign that the training moves."""

    def __init__(self, path: Path) -> None:
        self._path, self._seconds, self._since = path, list[float](), time.monotonic()

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        self._seconds.append(now - self._since)
        self._since = now
        left = (event.epochs - event.epoch) * median(self._seconds)
        line = {
            "epoch": event.epoch,
            "epochs": event.epochs,
            "share": event.step / event.steps,
            "terms": {key: round(value, 6) for key, value in event.terms.items()},
            "validation": {k: round(v, 6) for k, v in (event.validation or {}).items()},
            "seconds_left": round(left, 1),
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        _say(f"epoch {event.epoch} of {event.epochs}: {line['terms']}")


def _take_checkpoint(here: Folder, attempt: int) -> None:
    """Begin with the newest checkpoints of the earlier attempts, unless there are some here."""
    for name in (files.TEACHER, files.CHECKPOINT):
        own = here.attempt(attempt) / name
        if own.is_dir():
            continue
        for earlier in range(attempt - 1, 0, -1):
            found = here.attempt(earlier) / name
            if not found.is_dir() or checkpoints.load(found, torch.device("cpu")) is None:
                continue
            draft = own.with_name(f".{own.name}")
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(found, draft)
            draft.replace(own)
            _say(f"going on from the {name} of attempt {earlier}")
            break


def _say(text: str) -> None:
    """Write a line to the attempt's log."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _die_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
