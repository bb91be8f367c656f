"""A classifier's spec as canonical JSON: what a graph's metadata carries and a card records."""

import json
from dataclasses import MISSING, asdict, fields
from typing import Any, Final, TypeVar, get_args

from models.errors import GraphRejectedError
from models.types import (
    Channels,
    ClassifierSpec,
    Fit,
    Grid,
    Interpolation,
    Outputs,
    Preprocessing,
)

Word = TypeVar("Word", bound=str)

# Later than the first specs: left out where they say nothing new, so that the text, and with it
# the digest, of an older version stays what it was.
_LATER: Final = {
    ClassifierSpec: ("outputs", "grid"),
    Preprocessing: (
        "resize",
        "interpolation",
        "antialias",
        "channels",
        "transform_input",
        "fill",
    ),
}


def to_json(spec: ClassifierSpec) -> str:
    """Return `spec` as canonical JSON: equal specs are equal text (sorted keys, no spaces)."""
    return json.dumps(to_mapping(spec), sort_keys=True, separators=(",", ":"))


def to_mapping(spec: ClassifierSpec) -> dict[str, Any]:
    """Return `spec` as plain values, as `from_mapping` reads them."""
    return {
        **_without_defaults(asdict(spec), ClassifierSpec),
        "preprocessing": _without_defaults(asdict(spec.preprocessing), Preprocessing),
    }


def from_json(text: str) -> ClassifierSpec:
    """Return the spec that `to_json` wrote.

    Raises:
        GraphRejectedError: If a field is missing, unknown or of the wrong type.
    """
    try:
        return from_mapping(json.loads(text))
    except json.JSONDecodeError as error:
        raise GraphRejectedError(f"the classifier's spec is not JSON: {error}") from error


def from_mapping(value: object) -> ClassifierSpec:
    """Return the spec that `to_mapping` or `dataclasses.asdict` turned into `value`.

    Raises:
        GraphRejectedError: If a field is missing, unknown or of the wrong type.
    """
    spec = _checked_fields(value, ClassifierSpec, "spec")
    shape = _checked_fields(spec["preprocessing"], Preprocessing, "preprocessing")
    try:
        preprocessing = Preprocessing(
            height=_positive(shape["height"], "height"),
            width=_positive(shape["width"], "width"),
            mean=_three(shape["mean"], "mean"),
            std=_three(shape["std"], "std"),
            fit=_one_of(shape["fit"], get_args(Fit), "fit"),
            crop_fraction=float(shape["crop_fraction"]),
            resize=None if shape["resize"] is None else _positive(shape["resize"], "resize"),
            interpolation=_one_of(
                shape["interpolation"], get_args(Interpolation), "interpolation"
            ),
            antialias=_truth(shape["antialias"], "antialias"),
            channels=_one_of(shape["channels"], get_args(Channels), "channels"),
            transform_input=_truth(shape["transform_input"], "transform_input"),
            fill=int(shape["fill"]),
        )
        return ClassifierSpec(
            architecture=str(spec["architecture"]),
            classes=_labels(spec["classes"]),
            preprocessing=preprocessing,
            target_layer=str(spec["target_layer"]),
            head=_one_of(spec["head"], ("linear", "hidden256"), "head"),
            outputs=_one_of(spec["outputs"], get_args(Outputs), "outputs"),
            grid=None if spec["grid"] is None else _grid(spec["grid"]),
        )
    except (TypeError, ValueError) as error:
        raise GraphRejectedError(f"the classifier's spec cannot be read: {error}") from error


def _checked_fields(value: object, kind: type, what: str) -> dict[str, Any]:
    """Return `value` as a mapping that has the fields of `kind`, the later ones filled in."""
    names = {each.name for each in fields(kind)}
    later = {name: _default(kind, name) for name in _LATER.get(kind, ())}
    if not isinstance(value, dict) or set(later | value) != names:
        given = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise GraphRejectedError(f"the {what} must have the fields {sorted(names)}, got {given}")
    return later | value


def _without_defaults(value: dict[str, Any], kind: type) -> dict[str, Any]:
    later = _LATER[kind]
    return {k: each for k, each in value.items() if k not in later or each != _default(kind, k)}


def _default(kind: type, name: str) -> object:
    (found,) = (each.default for each in fields(kind) if each.name == name)
    return None if found is MISSING else found


def _grid(value: object) -> Grid:
    given = _checked_fields(value, Grid, "grid")
    return Grid(
        layout=_one_of(given["layout"], ("maps", "maps_last", "tokens"), "layout"),
        rows=_positive(given["rows"], "rows"),
        columns=_positive(given["columns"], "columns"),
        skipped=int(given["skipped"]),
    )


def _truth(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{what} must be true or false, got {value!r}")
    return value


def _positive(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{what} must be a positive integer, got {value!r}")
    return value


def _three(value: object, what: str) -> tuple[float, float, float]:
    if not isinstance(value, list | tuple) or len(value) != 3:  # noqa: PLR2004 - red, green, blue
        raise ValueError(f"{what} must be three numbers, got {value!r}")
    red, green, blue = (float(each) for each in value)
    return red, green, blue


def _labels(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"classes must be a list of labels, got {value!r}")
    if not value or len(set(value)) != len(value):
        raise ValueError("classes must be at least one label, each once")
    return tuple(value)


def _one_of(value: object, words: tuple[Word, ...], what: str) -> Word:
    for word in words:
        if value == word:
            return word
    raise ValueError(f"{what} must be one of {words}, got {value!r}")
