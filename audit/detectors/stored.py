"""Reads a detector's stored state, and refuses what is not one."""

from collections.abc import Mapping

from audit.detectors.base import JSON
from audit.errors import DetectorStateError


def number(state: Mapping[str, JSON], name: str, *, of: str) -> float:
    """Return the number `name` of a state of the detector `of`.

    Raises:
        DetectorStateError: If the state is another detector's, or `name` is not a number.
    """
    value = _value(state, name, of)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DetectorStateError(f"{of}: {name} is {value!r}, not a number")
    return float(value)


def numbers(
    state: Mapping[str, JSON], name: str, *, of: str, count: int | None = None
) -> list[float]:
    """Return the list of numbers `name`, of length `count` where that is given.

    Raises:
        DetectorStateError: If the state is another detector's, or the list is not that.
    """
    values = _value(state, name, of)
    if not isinstance(values, list) or not all(isinstance(each, int | float) for each in values):
        raise DetectorStateError(f"{of}: {name} is {values!r}, not a list of numbers")
    if count is not None and len(values) != count:
        raise DetectorStateError(f"{of}: {name} has {len(values)} numbers, not {count}")
    return [float(each) for each in values if isinstance(each, int | float)]


def whole(state: Mapping[str, JSON], name: str, *, of: str) -> int | None:
    """Return the count `name`, or None where the state says so.

    Raises:
        DetectorStateError: If the state is another detector's, or `name` is no count.
    """
    value = _value(state, name, of)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise DetectorStateError(f"{of}: {name} is {value!r}, not a count")
    return value


def _value(state: Mapping[str, JSON], name: str, of: str) -> JSON:
    if state.get("detector") != of:
        raise DetectorStateError(f"state of {state.get('detector')!r}; expected {of!r}")
    if name not in state:
        raise DetectorStateError(f"{of}: {name} is missing")
    return state[name]
