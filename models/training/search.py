"""A small search of an explanation's weight and the step size, judged on the validation split.

The validation split carries the training's shortcuts, so accuracy on it alone would choose the
weight zero. What is maximised is the recipe's criterion; the search keeps the largest weight among
the trials that lose at most `tolerance` of the best value: as much explanation as accuracy allows
(Ross et al. 2017 raise λ until accuracy just starts to fall).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from models.errors import TrainingError
from models.training.building import read_splits
from models.training.methods import option_names
from models.training.recipes import Recipe
from models.training.running import run

_WEIGHTS = (1e-2, 1e4)
_RATES = (0.3, 3.0)  # factors on the recipe's own


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of the search.

    Attributes:
        recipe: As it was run.
        value: Of the criterion on the validation split, larger is better.
    """

    recipe: Recipe
    value: float


def search(
    recipe: Recipe,
    trials: int,
    *,
    tolerance: float = 0.01,
    progress: Callable[[int, Trial], None] | None = None,
) -> tuple[Recipe, list[Trial]]:
    """Return the chosen recipe and everything that was tried.

    Args:
        recipe: Where to begin; its weight and learning rate are searched.
        trials: How many trainings.
        tolerance: How much of the best value the chosen one may lose.
        progress: Told after each trial.

    Raises:
        TrainingError: If Optuna is not installed, or the objective has no weight.
    """
    try:
        import optuna  # noqa: PLC0415  # optional, and wanted here only
    except ImportError as error:
        raise TrainingError("the search needs Optuna: pip install 'rightly[search]'") from error
    if "weight" not in option_names(recipe.objective):
        raise TrainingError(f"{recipe.objective} has no weight to search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    splits = read_splits(recipe)
    done: list[Trial] = []

    def attempt(trial: "optuna.Trial") -> float:
        weight = trial.suggest_float("weight", *_WEIGHTS, log=True)
        factor = trial.suggest_float("rate", *_RATES, log=True)
        rate = recipe.training.learning_rate * factor
        tried = replace(
            recipe,
            options={**recipe.options, "weight": weight},
            training=replace(recipe.training, learning_rate=rate),
            balance=None,
        )
        outcome = run(tried, splits=splits)
        values = outcome.result.history[outcome.result.best_epoch - 1].validation or {}
        value = tried.training.judged(values, outcome.result.best_epoch)
        done.append(Trial(tried, value))
        if progress is not None:
            progress(len(done), done[-1])
        return value

    sampler = optuna.samplers.TPESampler(seed=recipe.training.seed)
    optuna.create_study(direction="maximize", sampler=sampler).optimize(attempt, n_trials=trials)
    best = max(each.value for each in done)
    good = [each for each in done if each.value >= best - tolerance]
    return max(good, key=lambda each: float(each.recipe.options["weight"])).recipe, done
