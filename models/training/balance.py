"""The weight λ of an explanation loss: found from the data, not guessed.

References:
    Ross, Hughes, Doshi-Velez (2017), section 4: penalty and cross-entropy should be of like size
    early in training (0.2 to 30 times worked). Friedrich et al. (2023), arXiv:2203.03668: the
    same ratio over the training set at initialisation.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch

from models.architectures import Classifier
from models.errors import TrainingError
from models.modes import training_mode
from models.training import strengths
from models.training.batches import batch_of, epoch_order
from models.training.image_sets import ImageSet
from models.training.objectives import ERM, Moment, Objective
from models.training.optimizers import TrainingConfig
from models.training.trainer import train


def balance(
    objective: Objective,
    classifier: Classifier,
    training: ImageSet,
    config: TrainingConfig,
    *,
    ratio: float = 1.0,
    warm_up: int = 1,
    limit: int = 20,
    should_stop: Callable[[], bool] | None = None,
) -> Objective:
    """Return the objective with the weight at which λ·explanation = ratio·label.

    Of robust methods it is the weight of the gradient penalty, `gradient`, with λ·penalty in the
    place of λ·explanation; their `radius` is no weight, and stays.

    Args:
        objective: One with a `weight` or a `gradient`.
        classifier: What will be trained; it is not changed.
        training: Rows to measure on.
        config: Batch size, and how the warm-up is trained.
        ratio: Wanted ratio of the two terms.
        warm_up: Epochs of ERM on a copy before measuring; 0 measures at initialisation, where
            gradients by the pixels are tiny and the weight comes out far too large.
        limit: Batches to measure on.
        should_stop: Asked before every step of the warm-up; true returns the objective as it is.

    Raises:
        TrainingError: If the objective has no weight, or its term is zero on these rows.
    """
    name = strengths.balanced(vars(objective))
    if name is None:
        raise TrainingError(f"{objective.name} has no weight to balance")
    term = "explanation" if name == "weight" else name
    probe = deepcopy(classifier)
    if warm_up:
        early = replace(config, epochs=warm_up, criterion="last", schedule="constant")
        few = training.take(range(min(64, len(training))))
        if train(probe, ERM(), training, few, early, should_stop=should_stop).cancelled:
            return objective
    device = config.chosen_device()
    probe.to(device)
    measured: Objective = deepcopy(objective)
    if name == "gradient":  # without a weight the penalty is not computed
        measured = replace(measured, gradient=1.0)  # type: ignore[type-var]  # a dataclass
    measured.begin(probe, training)
    order = epoch_order(len(training), seed=config.seed, epoch=0)
    label = explanation = 0.0
    for step, start in enumerate(range(0, len(order), config.batch_size)):
        if step >= limit:
            break
        batch = batch_of(training, order[start : start + config.batch_size]).on(device)
        frozen = measured.freezes_batchnorm or config.freeze_batchnorm
        with torch.random.fork_rng(devices=[]), training_mode(probe, freeze_batchnorm=frozen):
            terms = measured.loss(probe, batch, Moment(step=step, seed=config.seed)).terms
        label += float(terms["label"])
        explanation += float(terms[term])
    if not explanation > 0:
        raise TrainingError(
            f"the {term} term of {objective.name} is {explanation} on the training rows: "
            "there is nothing to balance"
        )
    found: dict[str, Any] = {name: ratio * label / explanation}
    return replace(objective, **found)  # type: ignore[type-var]  # a dataclass: it has fields
