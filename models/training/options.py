"""Options of a method by name: the attributes of its dataclass that are plain values."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from models.errors import TrainingError

Kind = TypeVar("Kind")


def names(kind: type[Any]) -> list[str]:
    """Return the options of a dataclass: attributes with a default that `repr` shows."""
    return [each.name for each in fields(kind) if each.repr and each.default is not MISSING]


def made(kind: type[Kind], name: str, options: Mapping[str, Any], **fixed: object) -> Kind:
    """Return an instance of `kind` with the given options; the rest keep their defaults.

    Args:
        kind: A dataclass.
        name: What a refusal calls it.
        options: Attributes by name; a list becomes a tuple.
        fixed: Attributes that no option can give.

    Raises:
        TrainingError: If an option is unknown, has the wrong type or is none of its choices; the
            message lists what there is.
    """
    known = names(kind)
    unknown = sorted(options.keys() - set(known))
    if unknown:
        listed = ", ".join(known) or "none"
        raise TrainingError(f"{name} has no option {unknown[0]!r}; it has {listed}")
    hints = get_type_hints(kind)
    usual = {each.name: each.default for each in fields(kind)}  # type: ignore[arg-type]  # documented: a dataclass
    for option, value in options.items():
        _check_type(name, option, value, usual[option])
        choices = get_args(hints[option]) if get_origin(hints[option]) is Literal else ()
        if choices and value not in choices:
            listed = ", ".join(map(str, choices))
            raise TrainingError(f"{name}: {option} is {value!r}, needed is one of {listed}")
    ready = {key: tuple(each) if isinstance(each, list) else each for key, each in options.items()}
    return kind(**ready, **fixed)


def _check_type(name: str, option: str, value: object, usual: object) -> None:
    """Refuse text for a number, a number for text, and so on; a whole number is a number."""
    wanted: tuple[type, ...] = (type(usual),)
    if isinstance(usual, float):
        wanted = (float, int)
    elif isinstance(usual, tuple):
        wanted = (tuple, list)
    same = isinstance(value, wanted) and isinstance(value, bool) == isinstance(usual, bool)
    if usual is not None and not same:
        raise TrainingError(
            f"{name}: {option} is {value!r}, needed is a {type(usual).__name__} such as {usual!r}"
        )
