"""How to learn: chosen from what is known about the rows, with the reason beside it.

Where masks let it judge, `auto` holds a tournament (`services.retraining.jobs.tournament`). The
ranking, which takes part and decides where there is none, is that of `benchmarks/retraining.py`:
where regions mark what must not matter, penalising input gradients there (RRR) gives the cue up at
the least cost of accuracy; with a teacher that has learnt without the cue, or a segmenter that
lets one learn so, its explanations alone (TEA); with nothing but one good and one bad example,
eXBL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.errors import TrainingError
from services.retraining.teaching import Teacher

# λ of RRR on pixels in [0, 1]: at 1 the digits' cue is given up and little accuracy with it.
# Counterexamples show the cues of other images: beside noise a cue would stay what it was.
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "rrr": {"weight": 1.0},
    "counterexamples": {"fill": "other"},
}
# Who takes part in a tournament, ERM first: what helped on any set of `benchmarks/retraining.py`.
_ENTRANTS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("erm", {}),
    ("counterexamples", {"fill": "exchange"}),
    ("counterexamples", {"fill": "other"}),
    ("counterexamples", {"fill": "noise"}),
    ("rrr", {"weight": 1.0}),
    ("rrr", {"weight": 10.0}),
    ("gradcam_penalty", {"weight": 1.0}),
)
_UNWEIGHTED = {"erm", "tea", "counterexamples"}


@dataclass(frozen=True, slots=True)
class Choice:
    """A way of learning and why.

    Attributes:
        objective: Its name in `models.training.methods`.
        options: Its attributes.
        continues: Whether training begins with the champion's weights instead of fresh ones.
        good: Row whose explanation shall be followed; "" where none is used.
        bad: Row whose explanation shall be avoided; "" likewise.
        teacher: Whose explanations are followed; None where none is used, or where TEA trains its
            own first, on images without what is irrelevant.
        reason: Why it was chosen.
    """

    objective: str
    options: Mapping[str, Any]
    continues: bool
    good: str
    bad: str
    teacher: Teacher | None
    reason: str


def choose(
    wanted: str,
    *,
    annotated: int,
    rows: int,
    right: Sequence[str],
    wrong: Sequence[str],
    teacher: Teacher | None,
    hyperparameters: Mapping[str, float],
    segmented: int = 0,
) -> Choice:
    """Choose, or take what a person chose.

    Args:
        wanted: A name, or "auto".
        annotated: Training rows with a region.
        rows: All training rows.
        right: Rows that a reviewer found right for the right reason.
        wrong: Rows that a reviewer found right for the wrong reason.
        teacher: A classifier that has learnt without the cue; None where there is none.
        hyperparameters: Numbers of the request; "weight" is the objective's.
        segmented: Training rows that an attached segmenter marked.

    Raises:
        TrainingError: If nothing is known that could be learnt from.
    """
    pair = bool(right and wrong)
    name, reason = wanted, "chosen by the request"
    if wanted == "auto":
        name, reason = _ranked(annotated, rows, teacher, segmented, pair=pair)
    if name == "tea" and teacher is None and not annotated:
        raise TrainingError(
            "tea needs a teacher: name a version in the change-control plan (data.teachers), or "
            "attach a segmenter, so that one can learn without the surroundings"
        )
    options = dict(_OPTIONS.get(name, {}))
    if "weight" in hyperparameters and name not in _UNWEIGHTED:
        options["weight"] = float(hyperparameters["weight"])
    exemplary = name == "exbl"
    return Choice(
        objective=name,
        options=options,
        continues=exemplary,
        good=right[-1] if exemplary and pair else "",
        bad=wrong[-1] if exemplary and pair else "",
        teacher=teacher if name == "tea" else None,
        reason=reason,
    )


def entrants(choice: Choice, allowed: Sequence[str]) -> list[Choice]:
    """Return what could be learnt by instead, ERM first, where masks let a tournament judge.

    Args:
        choice: What the ranking would take; it takes part too.
        allowed: Ways of learning that the plan allows.
    """
    plain = {"continues": False, "good": "", "bad": "", "teacher": None, "reason": ""}
    listed = [Choice(objective=name, options=given, **plain) for name, given in _ENTRANTS]  # type: ignore[arg-type]  # of the right types, by name
    found = [each for each in listed if each.objective in {*allowed, "erm"}]
    alike = [(each.objective, each.options) for each in found]
    return found if (choice.objective, choice.options) in alike else [*found, choice]


def _ranked(
    annotated: int, rows: int, teacher: Teacher | None, segmented: int, *, pair: bool
) -> tuple[str, str]:
    """Return the first way of learning that what is known allows, and why."""
    if teacher is not None:
        return "tea", f"{teacher.name} teaches what to look at"
    if segmented:
        return "tea", f"the attached segmenter marked {segmented} of {rows} rows"
    if annotated:
        return "rrr", f"{annotated} of {rows} rows have a region"
    if pair:
        return "exbl", "no row has a region, but one review is good and one is bad"
    raise TrainingError(
        "there is nothing to learn from: no row has a region, no teacher is named, and there is "
        "no pair of a right-reason and a wrong-reason review"
    )
