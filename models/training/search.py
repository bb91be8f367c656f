"""A small search of an explanation's strength and the step size, judged on the validation split.

The validation split carries the training's shortcuts, so accuracy on it alone would choose the
weight zero. What is maximised is the recipe's criterion; the search keeps the largest weight among
the trials that lose at most `tolerance` of the best value: as much explanation as accuracy allows
(Ross et al. 2017 raise λ until accuracy just starts to fall). Robust methods have a `gradient`
and a `radius` in the place of a weight, or beside it (`strengths.py`).

ERM has no explanation; its weight decay is searched in place of it, and the best value is kept:
the control "ERM with tuned weight decay" that every explanation loss has to beat.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from models.errors import LossNotFiniteError, TrainingError
from models.training import strengths
from models.training.building import read_splits
from models.training.image_sets import ImageSet
from models.training.methods import option_names
from models.training.objectives import ERM
from models.training.recipes import Recipe
from models.training.running import run

_DECAYS = (1e-6, 10.0)
_RATES = (0.3, 3.0)  # factors on the recipe's own

Draw: TypeAlias = Callable[[str, tuple[float, float]], float]


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of the search.

    Attributes:
        recipe: As it was run.
        value: Of the criterion on the validation split, larger is better; None where it failed.
        failed: Why it has no value; "" where it has one.
    """

    recipe: Recipe
    value: float | None
    failed: str = ""

    def to_mapping(self) -> dict[str, Any]:
        """Return what was tried and what came of it, as plain values."""
        training = self.recipe.training
        tried = {"learning_rate": training.learning_rate, "weight_decay": training.weight_decay}
        named = strengths.searched(self.recipe.options) or ("weight",)
        strength = {name: self.recipe.options.get(name) for name in named}
        return {**strength, **tried, "value": self.value, "failed": self.failed}


def search(
    recipe: Recipe,
    trials: int,
    *,
    tolerance: float = 0.01,
    progress: Callable[[int, Trial], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    splits: Mapping[str, ImageSet] | None = None,
) -> tuple[Recipe, list[Trial]]:
    """Return the chosen recipe and everything that was tried.

    A trial whose loss is not finite has failed, and the search goes on. The criterion "last" says
    nothing about a training: trials are then judged by the accuracy of their last epoch.

    Args:
        recipe: Where to begin; its weight, `gradient` and `radius` (ERM: its weight decay) and
            learning rate are searched.
        trials: How many trainings.
        tolerance: Share of the best value that the chosen one may lose.
        progress: Told after each trial.
        should_stop: Asked before every step; true ends the search with the trials so far, and
            without any with the recipe as it is.
        splits: The sets, if they have been read already.

    Raises:
        TrainingError: If Optuna is not installed, nothing can be searched, or every trial fails.
    """
    try:
        import optuna  # noqa: PLC0415  # optional, and wanted here only
    except ImportError as error:
        raise TrainingError("the search needs Optuna: pip install 'rightly[search]'") from error
    if recipe.objective != ERM.name and not strengths.searched(option_names(recipe.objective)):
        raise TrainingError(f"{recipe.objective} has no weight to search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sets = read_splits(recipe) if splits is None else splits
    done: list[Trial] = []

    def attempt(trial: "optuna.Trial") -> float:
        tried = _drawn(recipe, lambda name, limits: trial.suggest_float(name, *limits, log=True))
        try:
            outcome = run(tried, splits=sets, should_stop=should_stop).result
        except LossNotFiniteError as error:
            ended = Trial(tried, None, str(error))
        else:
            if outcome.cancelled:
                trial.study.stop()
                raise optuna.TrialPruned
            ended = _judged(tried, outcome.history[outcome.best_epoch - 1].validation or {})
        done.append(ended)
        if progress is not None:
            progress(len(done), ended)
        if ended.value is None:
            raise optuna.TrialPruned
        return ended.value

    sampler = optuna.samplers.TPESampler(seed=recipe.training.seed)
    optuna.create_study(direction="maximize", sampler=sampler).optimize(attempt, n_trials=trials)
    chosen = choose(done, tolerance=tolerance).recipe if done else recipe
    return chosen, done


def choose(trials: Sequence[Trial], *, tolerance: float = 0.01) -> Trial:
    """Return the trial with the largest weight among those that lose little of the best value.

    Where several strengths are searched, the largest is the one furthest up in their limits, on
    average and by logarithms. Without an explanation there is nothing to prefer: the best value
    then, and of equals the largest weight decay.

    Args:
        trials: Of one search, at least one.
        tolerance: Share of the best value that may be lost.

    Raises:
        TrainingError: If every trial failed; the message says how the first did.
    """
    valued = [(each.value, each) for each in trials if each.value is not None]
    if not valued:
        raise TrainingError(
            f"each of the {len(trials)} trials failed, the first because {trials[0].failed}"
        )
    best = max(value for value, _ in valued)
    if not strengths.searched(valued[0][1].recipe.options):
        equals = [each for value, each in valued if value == best]
        return max(equals, key=lambda each: each.recipe.training.weight_decay)
    good = [each for value, each in valued if value >= best - tolerance * abs(best)]
    return max(good, key=lambda each: strengths.strength(each.recipe.options))


def _drawn(recipe: Recipe, draw: Draw) -> Recipe:
    """Return the recipe with its strengths, or ERM's decay, and a learning rate drawn anew."""
    if recipe.objective == ERM.name:
        training = replace(recipe.training, weight_decay=draw("weight_decay", _DECAYS))
        options = recipe.options
    else:
        training = recipe.training
        named = strengths.searched(option_names(recipe.objective))
        drawn = {name: draw(name, strengths.LIMITS[name]) for name in named}
        options = {**recipe.options, **drawn}
    rate = training.learning_rate * draw("rate", _RATES)
    training = replace(training, learning_rate=rate)
    return replace(recipe, options=options, training=training, balance=None)


def _judged(recipe: Recipe, values: Mapping[str, float]) -> Trial:
    """Return the trial with its value on the validation split."""
    config = recipe.training
    if config.criterion == "last":
        config = replace(config, criterion="accuracy")
    value = config.judged(values, 0)
    if not math.isfinite(value):
        return Trial(recipe, None, f"{config.criterion} on the validation split is {value}")
    return Trial(recipe, value)
