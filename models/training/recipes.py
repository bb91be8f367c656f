"""A recipe: everything that makes a training repeatable, as one TOML file.

objective = "rrr"
architecture = "small_cnn"
data = "photos"

[options]          # the objective's
weight = 10.0

[training]         # see `optimizers.TrainingConfig`
epochs = 20

[balance]          # optional: find the weight by the ratio rule (see `balance.py`)
ratio = 1.0
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from models.errors import TrainingError
from models.training.optimizers import RESUMABLE, TrainingConfig

IMAGENET = "imagenet"
PATHS = ("teacher", "segmenter", "unbiased", "features")
"""Options that name a file or folder."""

FINE_TUNING: Mapping[str, Any] = {"batch_size": 32, "schedule": "one_cycle", "clip": 1.0}
"""How a training that begins with trained weights is configured where a recipe names no schedule:
at a constant rate of 1e-3 a network with frozen statistics soon gives one class to everything."""
_REFINING = frozenset({"exbl", "dfr"})  # begin with the weights that they are about

_TABLES = ("options", "training", "balance")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to train, on what, and how.

    Attributes:
        data: Folder of the data set, as given.
        objective: Name in `methods.BY_NAME`.
        architecture: A name of `models.architectures`, or "module:factory".
        head: "linear" or "hidden256".
        height: Rows of the input; None for the architecture's own.
        width: Columns of the input; None for the architecture's own.
        weights: What training begins with: "" for fresh weights, "imagenet" for the published
            ones of efficientnet_lite0, or a safetensors file of the same architecture.
        options: Of the objective.
        training: Of the trainer.
        balance: `ratio` and `warm_up` of the ratio rule; None keeps the objective's weight.
    """

    data: str
    objective: str = "erm"
    architecture: str = "small_cnn"
    head: str = "linear"
    height: int | None = None
    width: int | None = None
    weights: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    balance: Mapping[str, Any] | None = None

    def to_mapping(self) -> dict[str, Any]:
        """Return the recipe as plain values, without what is left open."""
        plain = asdict(self)
        plain["training"] = {k: v for k, v in plain["training"].items() if v is not None}
        return {key: value for key, value in plain.items() if value is not None}

    def to_toml(self) -> str:
        """Return the recipe as TOML; `parse` reads it back as it was."""
        plain = self.to_mapping()
        lines = [
            f"{key} = {_literal(value)}" for key, value in plain.items() if key not in _TABLES
        ]
        for table in _TABLES:
            if plain.get(table):
                lines += ["", f"[{table}]"]
                lines += [f"{key} = {_literal(value)}" for key, value in plain[table].items()]
        return "\n".join(lines) + "\n"


def read(path: Path) -> Recipe:
    """Read a recipe; its relative paths are relative to the file.

    Raises:
        TrainingError: Naming what is wrong in the file.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"{path} cannot be read as TOML: {error}") from error
    return parse(anchored(content, path.parent))


def anchored(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the content of a recipe with its relative paths made absolute, from `folder`."""
    values = dict(content)
    for name in ("data", "weights"):
        if values.get(name) and values[name] != IMAGENET:
            values[name] = str((folder / str(values[name])).resolve())
    options = values.get("options")
    if isinstance(options, Mapping):
        values["options"] = {
            key: str((folder / str(each)).resolve()) if key in PATHS and each else each
            for key, each in options.items()
        }
    return values


def parse(content: Mapping[str, Any]) -> Recipe:
    """Return the recipe that plain values describe.

    Raises:
        TrainingError: If a name is unknown or a value has the wrong type.
    """
    _refuse_unknown(content, {each.name for each in fields(Recipe)}, "the recipe")
    if not content.get("data"):
        raise TrainingError("the recipe names no data")
    values = dict(content)
    training = dict(values.pop("training", {}))
    _refuse_unknown(training, {each.name for each in fields(TrainingConfig)}, "[training]")
    if values.get("balance") is not None:
        _refuse_unknown(values["balance"], {"ratio", "warm_up"}, "[balance]")
    tunes = values.get("weights") and values.get("objective") not in _REFINING
    if tunes and "schedule" not in training:
        training = {**FINE_TUNING, **training}
    try:
        return Recipe(**values, training=TrainingConfig(**training))
    except TypeError as error:
        raise TrainingError(f"the recipe cannot be used: {error}") from error


def remember(path: Path, asked: Recipe, found: Recipe, *, data: str, **more: object) -> None:
    """Write down what was found for a recipe before its training, for a training that goes on.

    Args:
        path: JSON file to write.
        asked: The recipe with what is left to find.
        found: The recipe with what was found.
        data: Digest of the rows that it was found on.
        more: What the file says beside it, for people.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"asked": asked.to_mapping(), "found": found.to_mapping(), "data": data, **more}
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(json.dumps(told, indent=1), "utf-8")
    partial.replace(path)


def remembered(path: Path, asked: Recipe, *, data: str) -> Recipe | None:
    """Return what `remember` noted; None if it noted nothing, or another recipe or other data.

    What a resumed training may change, such as the number of epochs, is as `asked` says now.
    """
    if not path.is_file():
        return None
    told = json.loads(path.read_text("utf-8"))
    found, then = parse(told["found"]), parse(told["asked"])
    now = {name: getattr(asked.training, name) for name in RESUMABLE}
    same = replace(then, training=replace(then.training, **now)).to_mapping() == _plain(asked)
    if not same or told["data"] != data:
        return None
    return replace(found, training=replace(found.training, **now))


def _plain(recipe: Recipe) -> Any:  # noqa: ANN401  # JSON
    """Return the recipe as a file gives it back."""
    return json.loads(json.dumps(recipe.to_mapping()))


def _refuse_unknown(given: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise TrainingError(f"{where} has no {unknown[0]!r}; it has {', '.join(sorted(known))}")


def _literal(value: Any) -> str:  # noqa: ANN401  # whatever TOML holds
    """Write one value; JSON's strings, numbers, booleans and lists are TOML's."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
