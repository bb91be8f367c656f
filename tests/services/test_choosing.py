"""How to learn is chosen by what is known, and the reason is said."""

import pytest

from models.errors import TrainingError
from services.retraining.choosing import Choice, choose


def chosen(
    wanted: str = "auto",
    *,
    annotated: int = 0,
    right: tuple[str, ...] = (),
    wrong: tuple[str, ...] = (),
    **numbers: float,
) -> Choice:
    return choose(
        wanted, annotated=annotated, rows=100, right=right, wrong=wrong, hyperparameters=numbers
    )


def test_regions_choose_rrr() -> None:
    found = chosen(annotated=7, right=("a",), wrong=("b",))

    assert (found.objective, found.continues) == ("rrr", False)
    assert found.reason == "7 of 100 rows have a region"


def test_one_good_and_one_bad_review_are_enough_for_exbl() -> None:
    found = chosen(right=("a", "b"), wrong=("c",))

    assert (found.objective, found.good, found.bad, found.continues) == ("exbl", "b", "c", True)


@pytest.mark.parametrize("known", [{}, {"right": ("a",)}, {"wrong": ("b",)}])
def test_nothing_to_learn_from_is_said(known: dict) -> None:
    with pytest.raises(TrainingError, match="nothing to learn from"):
        chosen(**known)


def test_a_person_can_choose_otherwise() -> None:
    found = chosen("gradcam_penalty", annotated=7, weight=3.0)

    assert (found.objective, found.options) == ("gradcam_penalty", {"weight": 3.0})
    assert found.reason == "chosen by the request"
