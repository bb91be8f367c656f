"""What a retraining's folder tells the gateway: its epochs, its data, the pairs to look at.

Only JSON and pictures are read here, nothing that training code is needed for.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from services.retraining.jobs import progress
from services.retraining.rows import Retraining

COMPARISON: Final = "comparison"
COMPARISON_FILE: Final = "comparison.json"
_MANIFEST, _RECIPE = "manifest.json", "recipe.json"


def epochs(root: Path, found: Retraining) -> list[dict[str, Any]]:
    """Return the progress after each epoch, in order.

    An attempt that went on from an earlier one's checkpoint may have done an epoch again: the
    later word counts.
    """
    told: dict[int, dict[str, Any]] = {}
    for number in range(1, found.attempt + 1):
        for line in progress.lines(_folder(root, found) / f"attempt-{number}" / progress.FILE):
            told[int(line["epoch"])] = line
    return [told[epoch] for epoch in sorted(told)]


def manifest(root: Path, found: Retraining) -> Mapping[str, Any] | None:
    """Return where the rows come from; None before the data were collected."""
    return _json(_folder(root, found) / _MANIFEST)


def recipe(root: Path, found: Retraining) -> Mapping[str, Any] | None:
    """Return what the training was told to do; None before the data were collected."""
    return _json(_folder(root, found) / _RECIPE)


def comparison(root: Path, found: Retraining) -> Mapping[str, Any] | None:
    """Return the pairs to look at; None before the evaluation."""
    return _json(_folder(root, found) / COMPARISON_FILE)


def picture(
    root: Path, found: Retraining, number: int, kind: Literal["image", "region"]
) -> bytes | None:
    """Return the PNG of a pair's image or region; None where there is none."""
    name = f"{number:02d}.png" if kind == "image" else f"{number:02d}.region.png"
    try:
        return (_folder(root, found) / COMPARISON / name).read_bytes()
    except FileNotFoundError:
        return None


def labels_of(rows: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, int]:
    """Return how many rows have which value of a field, most first; empty values left out."""
    counted: dict[str, int] = {}
    for row in rows:
        if value := str(row.get(name) or ""):
            counted[value] = counted.get(value, 0) + 1
    return dict(sorted(counted.items(), key=lambda each: -each[1]))


def _folder(root: Path, found: Retraining) -> Path:
    return root / found.retraining_id


def _json(path: Path) -> Mapping[str, Any] | None:
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return value
