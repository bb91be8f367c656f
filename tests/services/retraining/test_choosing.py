"""How to learn is chosen by what is known, and the reason is said."""

import pytest

from models.errors import TrainingError
from services.retraining.choosing import Choice, choose, entrants
from services.retraining.teaching import Teacher

TEACHER = Teacher("clean@3", "weights.safetensors", {})


def chosen(
    wanted: str = "auto",
    *,
    annotated: int = 0,
    right: tuple[str, ...] = (),
    wrong: tuple[str, ...] = (),
    teacher: Teacher | None = None,
    segmented: int = 0,
    **numbers: float,
) -> Choice:
    return choose(
        wanted,
        annotated=annotated,
        rows=100,
        right=right,
        wrong=wrong,
        teacher=teacher,
        segmented=segmented,
        hyperparameters=numbers,
    )


def test_regions_choose_rrr() -> None:
    found = chosen(annotated=7, right=("a",), wrong=("b",))

    assert (found.objective, found.continues) == ("rrr", False)
    assert found.reason == "7 of 100 rows have a region"


def test_a_teacher_comes_first_and_is_named() -> None:
    found = chosen(annotated=7, teacher=TEACHER, weight=2.0)

    assert (found.objective, found.teacher, found.options) == ("tea", TEACHER, {})
    assert found.reason == "clean@3 teaches what to look at"


def test_a_segmenter_lets_a_teacher_learn_first() -> None:
    found = chosen(annotated=90, segmented=80)

    assert (found.objective, found.teacher) == ("tea", None)
    assert found.reason == "the attached segmenter marked 80 of 100 rows"
    assert chosen("tea", annotated=7).teacher is None  # regions alone will do, where asked for


def test_tea_without_a_teacher_says_where_to_name_one() -> None:
    with pytest.raises(TrainingError, match=r"data\.teachers"):
        chosen("tea")


def test_a_teacher_is_only_used_by_tea() -> None:
    assert chosen("rrr", annotated=7, teacher=TEACHER).teacher is None


def test_one_good_and_one_bad_review_are_enough_for_exbl() -> None:
    found = chosen(right=("a", "b"), wrong=("c",))

    assert (found.objective, found.good, found.bad, found.continues) == ("exbl", "b", "c", True)


@pytest.mark.parametrize("known", [{}, {"right": ("a",)}, {"wrong": ("b",)}])
def test_nothing_to_learn_from_is_said(known: dict) -> None:
    with pytest.raises(TrainingError, match="nothing to learn from"):
        chosen(**known)


def test_a_person_can_choose_otherwise() -> None:
    assert chosen("counterexamples", weight=3.0).options == {"fill": "other"}
    found = chosen("gradcam_penalty", annotated=7, weight=3.0)

    assert (found.objective, found.options) == ("gradcam_penalty", {"weight": 3.0})
    assert found.reason == "chosen by the request"


def test_erm_always_takes_part_and_so_does_the_ranking() -> None:
    ranked = chosen(annotated=7)
    listed = entrants(ranked, ["auto", "rrr", "counterexamples"])

    assert listed[0].objective == "erm"
    assert {each.objective for each in listed} == {"erm", "rrr", "counterexamples"}
    assert sum((each.objective, each.options) == ("rrr", {"weight": 1.0}) for each in listed) == 1
    taught = chosen(teacher=TEACHER)
    assert entrants(taught, ["tea"])[-1].teacher == TEACHER
    assert [each.objective for each in entrants(taught, ["tea"])] == ["erm", "tea"]
