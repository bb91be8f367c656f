"""What a retraining keeps on disk, and how its image sets travel between its processes.

<folder>/training.npz validation.npz locked.npz   what is learnt from, chosen by, judged on
<folder>/manifest.json                            where each added row comes from
<folder>/recipe.json                              what the training process is to do
<folder>/tournament.json                          who took part in choosing how, and who won
<folder>/attempt-<n>/                             see `services.retraining.jobs.launchers`
    checkpoint/  progress.jsonl                   written after each epoch
    teacher/  teacher.jsonl                       likewise, of a teacher that is trained first
    weights.safetensors  trained.json             there as a whole or not at all
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models import contract, durable
from models.training.image_sets import ImageSet

SETS = ("training", "validation", "locked")
SANITY = "sanity.json"
TOURNAMENT = "tournament.json"
WEIGHTS, TRAINED, CHECKPOINT = contract.WEIGHTS, "trained.json", "checkpoint"
TEACHER = "teacher"
_ARRAYS = ("images", "labels", "relevant", "irrelevant", "annotated", "groups")
_TEXTS = ("classes", "ids", "group_names", "subjects")


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of one retraining.

    Attributes:
        path: The folder.
    """

    path: Path

    def attempt(self, number: int) -> Path:
        """Return the folder of a training attempt."""
        return self.path / f"attempt-{number}"

    def write_set(self, name: str, rows: ImageSet) -> None:
        """Write an image set as a whole or not at all."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        arrays = {each: getattr(rows, each) for each in _ARRAYS}
        texts = {
            each: None if (value := getattr(rows, each)) is None else list(value)
            for each in _TEXTS
        }
        draft = self.path / f".{name}.npz"
        with draft.open("wb") as file:
            np.savez(
                file,
                allow_pickle=False,
                texts=np.frombuffer(json.dumps(texts).encode(), np.uint8),
                **{key: value for key, value in arrays.items() if value is not None},
            )
        draft.replace(self.path / f"{name}.npz")

    def read_set(self, name: str) -> ImageSet:
        """Read an image set back as it was written."""
        with np.load(self.path / f"{name}.npz", allow_pickle=False) as file:
            texts = json.loads(file["texts"].tobytes())
            arrays: dict[str, Any] = {
                each: file[each] if each in file.files else None for each in _ARRAYS
            }
        lists: dict[str, Any] = {
            key: None if value is None else tuple(value) for key, value in texts.items()
        }
        return ImageSet(**arrays, **lists)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write JSON durably."""
        self.path.mkdir(parents=True, exist_ok=True)
        durable.write(self.path / name, json.dumps(value, indent=1, sort_keys=True).encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """Read what `write_json` wrote."""
        value: dict[str, Any] = json.loads((self.path / name).read_text("utf-8"))
        return value
