"""One cell: a method on a task with a seed; a small JSON file that is never computed twice."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.architectures import Classifier
from models.errors import ModelsError
from models.explainers.input_gradients import input_gradients
from models.modes import evaluation_mode
from models.training import groups
from models.training.balance import balance
from models.training.batches import batch_of
from models.training.distillation import TEA, masked_images, same_images
from models.training.e2kd import E2KD
from models.training.image_sets import ImageSet
from models.training.methods import objective
from models.training.objectives import ERM, Objective, fit_mask
from models.training.optimizers import TrainingConfig
from models.training.scores import answers, worst
from models.training.tasks import Task
from models.training.teaching import blackened
from models.training.trainer import train
from relearning.methods import Method
from relearning.tasks import Plan, classifier

_PACKAGES = ("torch", "numpy")
_EXPLAINED = 512  # test rows whose input gradients are looked at


def path_of(folder: Path, task: str, method: str, seed: int) -> Path:
    """Return a cell's file."""
    name = re.sub(r"[^a-z0-9]+", "-", method.lower()).strip("-")
    return folder / task / f"{name}.{seed}.json"


def run(
    plan: Plan, name: str, method: str, chosen: Method, *, seed: int, data: Path
) -> dict[str, Any]:
    """Train and judge one cell; what a method refuses is its result.

    Args:
        plan: The task.
        name: The task's name.
        method: The method's name.
        chosen: The method.
        seed: Of the task, the weights and the training.
        data: Folder of the real data sets.
    """
    task = plan.make(plan, data, seed)
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
            "view": chosen.view,
            "refines": chosen.refines,
            "balanced": chosen.balanced,
            "config": asdict(_config(plan, chosen, seed)) | {"weight_decay": chosen.decay},
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
    cell["found"] = _found(made)
    cell["tests"] = {test: _judged(network, rows) for test, rows in task.tests.items()}
    cell |= _reliance(network, task)
    if {"sticker", "plain"} <= task.tests.keys():
        cell["sticker_effect"] = _sticker_effect(network, task)
    if isinstance(made, TEA | E2KD):
        shown = _shown(chosen)
        cell["teacher"] = {
            test: _judged(made.teacher, shown(rows)) for test, rows in task.tests.items()
        }
        cell["agreement"] = _agreement(network, made.teacher, task.training, shown)
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
    config = replace(plan.config, **{"seed": seed, "learning_rate": rate, **method.training})
    if isinstance(method.decay, float):
        return replace(config, weight_decay=method.decay)
    return config


def _trained(
    plan: Plan, task: Task, method: Method, seed: int
) -> tuple[Classifier, int, Objective]:
    """Return the trained classifier, the steps that were taken, and the last objective."""
    config = _config(plan, method, seed)
    rows = task.ceiling if method.rows == "ceiling" else method.masks(task.training, seed)
    steps = config.epochs * -(-len(rows) // config.batch_size)
    network = classifier(plan, task, seed)
    if isinstance(method.decay, tuple):
        decay = _decay(plan, task, method.decay, seed)
        config = replace(config, weight_decay=decay)
        steps *= 1 + len(method.decay)
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
    if method.objective in _TAUGHT:
        view = {"same": same_images, "masked": masked_images}[method.view]
        made = _TAUGHT[method.objective](_teacher(plan, task, method, seed), view=view)
    else:
        made = objective(method.objective, method.options)
    if method.balanced:
        made = balance(made, network, rows, config)
        steps += steps // config.epochs
    train(network, made, rows, task.validation, config)
    return network, steps, made


_TAUGHT: Mapping[str, Callable[..., Objective]] = {"tea": TEA, "e2kd": E2KD}


def _shown(method: Method) -> Callable[[ImageSet], ImageSet]:
    """Return what turns rows into what the method's teacher sees of them."""
    return blackened if method.view == "masked" else lambda rows: rows


def _decay(plan: Plan, task: Task, tried: tuple[float, ...], seed: int) -> float:
    """Return the weight decay that does best on a tenth of the training rows."""
    order = np.random.default_rng([seed, 11]).permutation(len(task.training))
    held = len(order) // 10
    kept, judge = (task.training.take(np.sort(each)) for each in (order[held:], order[:held]))
    scores = {}
    for decay in tried:
        network = classifier(plan, task, seed)
        config = replace(plan.config, seed=seed, weight_decay=decay)
        train(network, ERM(), kept, judge, config)
        scores[decay] = float(answers(network, judge).correct.mean())
    return max(tried, key=lambda each: (scores[each], each))


def _teacher(plan: Plan, task: Task, method: Method, seed: int) -> Classifier:
    """Return a teacher trained on the rows without the cue, or on blackened rows."""
    teacher = classifier(plan, task, seed + 1000)
    config = replace(plan.config, seed=seed)
    rows = blackened(task.training) if method.view == "masked" else task.ceiling
    train(teacher, ERM(), rows, task.validation, config)
    return teacher


def _found(made: Objective) -> dict[str, float]:
    """Return what was found rather than given: the objective's weight as it trained."""
    weight = getattr(made, "weight", None)
    return {} if weight is None else {"weight": float(weight)}


def _judged(network: Classifier, rows: ImageSet) -> dict[str, float]:
    """Return accuracy, worst class and worst group on one test set."""
    found = answers(network, rows)
    return {
        "accuracy": round(float(found.correct.mean()), 4),
        "worst_class": round(worst(found.correct, found.labels), 4),
        "worst_group": round(worst(found.correct, found.groups), 4),
    }


def _reliance(network: Classifier, task: Task) -> dict[str, float | None]:
    """Return how the answers follow the cue, and how the input gradients do.

    "flip_rate" is how often an answer that is right with the cue changes with one drawn at random,
    "probability_shift" how much of the answer's probability goes with it, and "gradient_ratio"
    the share of the input gradient that lies on the cue over the share of pixels that do.
    """
    with_cue, changed = task.tests.get("correlated"), task.tests.get("random")
    found: dict[str, float | None] = {"flip_rate": None, "probability_shift": None}
    if with_cue is not None and changed is not None and len(with_cue) == len(changed):
        before, after = answers(network, with_cue), answers(network, changed)
        own = before.logits.argmax(axis=1)
        if before.correct.any():
            flipped = own != after.logits.argmax(axis=1)
            found["flip_rate"] = round(float(np.mean(flipped[before.correct])), 4)
        at = np.arange(len(own))
        fall = _likely(before.logits)[at, own] - _likely(after.logits)[at, own]
        found["probability_shift"] = round(float(fall.mean()), 4)
    return {**found, "gradient_ratio": None if with_cue is None else _ratio(network, with_cue)}


def _ratio(network: Classifier, rows: ImageSet) -> float | None:
    """Return the share of the input gradient on the cue over its share of the pixels."""
    batch = batch_of(rows, np.arange(min(len(rows), _EXPLAINED)))
    if not bool(batch.irrelevant.any()):
        return None
    with evaluation_mode(network):
        slope = input_gradients(network, batch.images, batch.labels).attribution.abs().sum(1)
    cue = fit_mask(batch.irrelevant, (slope.shape[1], slope.shape[2]))
    total = slope.sum((1, 2))
    told = total > 0
    shares = ((slope * cue).sum((1, 2)) / total.clamp_min(1e-30))[told]
    area = cue.mean((1, 2))[told]
    return round(float(shares.mean() / area.mean()), 4) if bool(told.any()) else None


def _likely(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    likely: NDArray[np.float32] = torch.from_numpy(logits).softmax(1).numpy()
    return likely


def _sticker_effect(network: Classifier, task: Task) -> float:
    """Return how much likelier a nevus becomes when a sticker stands beside the same lesion."""
    nevus = task.training.classes.index("nevus")
    likely = [
        torch.from_numpy(answers(network, task.tests[each]).logits).softmax(1)[:, nevus]
        for each in ("sticker", "plain")
    ]
    return round(float((likely[0] - likely[1]).mean()), 4)


def _agreement(
    student: Classifier,
    teacher: Classifier,
    rows: ImageSet,
    shown: Callable[[ImageSet], ImageSet],
) -> float:
    """Return how often student and teacher decide alike on the training's own distribution."""
    own = answers(student, rows).logits.argmax(axis=1)
    theirs = answers(teacher, shown(rows)).logits.argmax(axis=1)
    return round(float((own == theirs).mean()), 4)
