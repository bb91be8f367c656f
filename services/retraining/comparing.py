"""Pairs to look at: the same locked images, answered by the champion and by the candidate.

    <folder>/comparison.json      which rows, why these, and both answers with their heatmaps
    <folder>/comparison/00.png    the image; 00.region.png: where evidence is expected

They are kept with the retraining, so that what an approver saw can be seen again later. Some are
drawn at random, so that they show what is usual; the others are those whose answer changed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from audit.outcomes import Outcomes
from models.runtime import LARGEST_BATCH, Session
from models.training.image_sets import ImageSet
from models.types import Prediction
from services.pictures import png
from services.retraining.files import Folder
from services.retraining.reading import COMPARISON, COMPARISON_FILE

_DRAWN: Final = 10
_CHANGED: Final = 5  # of either kind
_DIGITS: Final = 3


def write(
    here: Folder, sessions: Sequence[Session], locked: ImageSet, before: Outcomes, after: Outcomes
) -> None:
    """Choose rows, ask both versions about them, and write down what they say.

    Args:
        here: The retraining's files.
        sessions: Champion and candidate.
        locked: The locked set.
        before: What the champion answered to all of it.
        after: What the candidate answered.
    """
    chosen = choose(before, after, seed=0)
    rows = [row for each in chosen.values() for row in each]
    images = locked.images[rows].astype(np.uint8)
    relevant, _ = locked.masks(np.array(rows, np.int64))
    answers = [_predict(session, images) for session in sessions]
    target = here.path / COMPARISON
    target.mkdir(parents=True, exist_ok=True)
    for number, (image, region) in enumerate(zip(images, relevant, strict=True)):
        (target / f"{number:02d}.png").write_bytes(png.compressed(image))
        drawn = np.repeat(region[..., None], 3, axis=2) * np.uint8(255)
        (target / f"{number:02d}.region.png").write_bytes(png.compressed(drawn))
    why = [name for name, each in chosen.items() for _ in each]
    pairs = [
        {
            "why": why[number],
            "label": locked.classes[int(locked.labels[row])],
            "group": before.group_names[int(before.groups[row])],
            "region": bool(relevant[number].any()),
            "champion": _answer(answers[0][number], before, row),
            "candidate": _answer(answers[1][number], after, row),
        }
        for number, row in enumerate(rows)
    ]
    here.write_json(COMPARISON_FILE, {"counts": _counts(before, after), "pairs": pairs})


def choose(before: Outcomes, after: Outcomes, *, seed: int) -> Mapping[str, list[int]]:
    """Return rows by why they are shown; no row stands twice.

    Args:
        before: The champion's answers.
        after: The candidate's answers to the same rows.
        seed: Of the draw.

    Returns:
        "drawn": one of each class in turn, at random; "mended": only the candidate is right;
        "broken": only the champion is right.
    """
    order = np.random.default_rng(seed).permutation(len(before.labels))
    right = before.correct[order] > 0, after.correct[order] > 0
    by_class = [order[before.labels[order] == each] for each in range(len(before.classes))]
    longest = max(len(each) for each in by_class)
    in_turn = [int(each[turn]) for turn in range(longest) for each in by_class if turn < len(each)]
    drawn = in_turn[:_DRAWN]
    found = {"drawn": drawn}
    for name, rows in (("mended", ~right[0] & right[1]), ("broken", right[0] & ~right[1])):
        changed = [int(row) for row in order[rows] if int(row) not in drawn]
        found[name] = changed[:_CHANGED]
    return found


def _counts(before: Outcomes, after: Outcomes) -> dict[str, int]:
    first, second = before.correct > 0, after.correct > 0
    return {
        "rows": len(first),
        "both": int((first & second).sum()),
        "mended": int((~first & second).sum()),
        "broken": int((first & ~second).sum()),
        "neither": int((~first & ~second).sum()),
    }


def _answer(prediction: Prediction, found: Outcomes, row: int) -> dict[str, Any]:
    decided = int(prediction.decided)
    return {
        "label": found.classes[decided],
        "probability": round(float(prediction.probabilities[decided]), 4),
        "right": decided == int(found.labels[row]),
        "relevance_mass": _rounded(found.mass[row]),
        "activation_recall": _rounded(found.recall[row]),
        "grid": [[round(float(cell), _DIGITS) for cell in line] for line in prediction.heatmap],
    }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _predict(session: Session, images: NDArray[np.uint8]) -> list[Prediction]:
    return [
        each
        for start in range(0, len(images), LARGEST_BATCH)
        for each in session.predict(images[start : start + LARGEST_BATCH])
    ]
