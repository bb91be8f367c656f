"""A classifier's spec as canonical JSON: what a graph's metadata carries and a card records."""

import json
from dataclasses import asdict, fields
from typing import Any, TypeVar

from models.errors import GraphRejectedError
from models.types import ClassifierSpec, Preprocessing

Word = TypeVar("Word", bound=str)


def to_json(spec: ClassifierSpec) -> str:
    """Return `spec` as canonical JSON: equal specs are equal text (sorted keys, no spaces)."""
    return json.dumps(asdict(spec), sort_keys=True, separators=(",", ":"))


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
    """Return the spec whose `dataclasses.asdict` is `value`.

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
            fit=_one_of(shape["fit"], ("stretch", "crop"), "fit"),
            crop_fraction=float(shape["crop_fraction"]),
        )
        return ClassifierSpec(
            architecture=str(spec["architecture"]),
            classes=_labels(spec["classes"]),
            preprocessing=preprocessing,
            target_layer=str(spec["target_layer"]),
            head=_one_of(spec["head"], ("linear", "hidden256"), "head"),
        )
    except (TypeError, ValueError) as error:
        raise GraphRejectedError(f"the classifier's spec cannot be read: {error}") from error


def _checked_fields(value: object, kind: type, what: str) -> dict[str, Any]:
    """Return `value` as a mapping that has exactly the fields of `kind`."""
    names = {each.name for each in fields(kind)}
    if not isinstance(value, dict) or set(value) != names:
        given = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise GraphRejectedError(f"the {what} must have the fields {sorted(names)}, got {given}")
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
