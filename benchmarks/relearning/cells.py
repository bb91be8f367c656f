"""One cell: a method on a task with a seed; a small JSON file that is never computed twice."""

import json
import re
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from models.architectures import Classifier
from models.errors import ModelsError
from models.training import groups
from models.training.distillation import TEA
from models.training.image_sets import ImageSet
from models.training.methods import objective
from models.training.objectives import ERM, Objective
from models.training.optimizers import TrainingConfig
from models.training.scores import answers, worst
from models.training.tasks import Task
from models.training.trainer import train
from relearning.methods import METHODS, Method
from relearning.tasks import Plan, classifier

_PACKAGES = ("torch", "numpy")


def path_of(folder: Path, task: str, method: str, seed: int) -> Path:
    """Return a cell's file."""
    name = re.sub(r"[^a-z0-9]+", "-", method.lower()).strip("-")
    return folder / task / f"{name}.{seed}.json"


def run(plan: Plan, name: str, method: str, seed: int, data: Path) -> dict[str, Any]:
    """Train and judge one cell; what a method refuses is its result.

    Args:
        plan: The task.
        name: The task's name.
        method: The method's name.
        seed: Of the task, the weights and the training.
        data: Folder of the real data sets.
    """
    task = plan.make(plan, data, seed)
    chosen = METHODS[method]
    cell: dict[str, Any] = {
        "task": name,
        "method": method,
        "seed": seed,
        "recipe": {
            "title": plan.title,
            "network": plan.network,
            "objective": chosen.objective,
            "options": dict(chosen.options),
            "masks": chosen.masks.__name__,
            "refines": chosen.refines,
            "config": asdict(_config(plan, chosen, seed)),
            "rows": len(task.training),
            "selection": "the last epoch: no validation row was looked at",
        },
        "versions": {each: version(each) for each in _PACKAGES},
        "threads": torch.get_num_threads(),
    }
    begun = perf_counter()
    try:
        network, steps, made = _trained(plan, task, chosen, seed)
    except ModelsError as refusal:
        return {**cell, "refused": str(refusal)}
    seconds = perf_counter() - begun
    cell["seconds"] = round(seconds, 2)
    cell["seconds_per_step"] = seconds / steps
    cell["tests"] = {test: _judged(network, rows) for test, rows in task.tests.items()}
    cell["flip_rate"] = _flips(network, task)
    if {"sticker", "plain"} <= task.tests.keys():
        cell["sticker_effect"] = _sticker_effect(network, task)
    if isinstance(made, TEA):
        cell["teacher"] = {test: _judged(made.teacher, rows) for test, rows in task.tests.items()}
        cell["agreement"] = _agreement(network, made.teacher, task.training)
    return cell


def load(path: Path) -> dict[str, Any] | None:
    """Return a finished cell, or None."""
    if not path.is_file():
        return None
    cell: dict[str, Any] = json.loads(path.read_text())
    return cell


def save(path: Path, cell: dict[str, Any]) -> None:
    """Write a cell; it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(cell, indent=1) + "\n")
    partial.replace(path)


def _config(plan: Plan, method: Method, seed: int) -> TrainingConfig:
    rate = plan.config.learning_rate * method.rate
    return replace(plan.config, seed=seed, weight_decay=method.decay, learning_rate=rate)


def _trained(
    plan: Plan, task: Task, method: Method, seed: int
) -> tuple[Classifier, int, Objective]:
    """Return the trained classifier, the steps that were taken, and the last objective."""
    config = _config(plan, method, seed)
    rows = task.ceiling if method.rows == "ceiling" else method.masks(task.training, seed)
    steps = config.epochs * -(-len(rows) // config.batch_size)
    network = classifier(plan, task, seed)
    if method.objective == "jtt":
        first = max(1, config.epochs // 10)
        network, _ = groups.just_train_twice(
            lambda: classifier(plan, task, seed),
            rows,
            task.validation,
            config,
            first_epochs=first,
        )
        return network, steps + steps * first // config.epochs, ERM()
    if method.refines:
        train(network, ERM(), rows, task.validation, config)
        steps *= 2
    if method.objective == "tea":
        made: Objective = _teacher(plan, task, seed)
    else:
        made = objective(method.objective, method.options)
    train(network, made, rows, task.validation, config)
    return network, steps, made


def _teacher(plan: Plan, task: Task, seed: int) -> Objective:
    """Return TEA with a teacher trained on the rows without the cue, seeing the same images."""
    teacher = classifier(plan, task, seed + 1000)
    config = replace(plan.config, seed=seed)
    train(teacher, ERM(), task.ceiling, task.validation, config)
    return TEA(teacher)


def _judged(network: Classifier, rows: ImageSet) -> dict[str, float]:
    """Return accuracy, worst class and worst group on one test set."""
    found = answers(network, rows)
    return {
        "accuracy": round(float(found.correct.mean()), 4),
        "worst_class": round(worst(found.correct, found.labels), 4),
        "worst_group": round(worst(found.correct, found.groups), 4),
    }


def _flips(network: Classifier, task: Task) -> float | None:
    """Return how often the answer, right with the cue, changes with a cue drawn at random."""
    with_cue = task.tests.get("correlated")
    changed = task.tests.get("random")
    if with_cue is None or changed is None or len(with_cue) != len(changed):
        return None
    before, after = answers(network, with_cue), answers(network, changed)
    right = before.correct
    flipped = before.logits.argmax(axis=1) != after.logits.argmax(axis=1)
    return round(float(np.mean(flipped[right])), 4) if right.any() else None


def _sticker_effect(network: Classifier, task: Task) -> float:
    """Return how much likelier a nevus becomes when a sticker stands beside the same lesion."""
    nevus = task.training.classes.index("nevus")
    likely = [
        torch.from_numpy(answers(network, task.tests[each]).logits).softmax(1)[:, nevus]
        for each in ("sticker", "plain")
    ]
    return round(float((likely[0] - likely[1]).mean()), 4)


def _agreement(student: Classifier, teacher: Classifier, rows: ImageSet) -> float:
    """Return how often student and teacher decide alike on the training's own distribution."""
    own, theirs = (answers(each, rows).logits.argmax(axis=1) for each in (student, teacher))
    return round(float((own == theirs).mean()), 4)
