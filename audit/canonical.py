"""Canonical JSON: one value, one text, so that a checksum or a commitment has one meaning.

Keys are sorted, nothing is padded, text is UTF-8, numbers are Python's shortest form, moments are
UTC with microseconds, and arrays travel as base64 of their little-endian bytes. `load(type(x),
dump(x))` gives back `x`; what does not fit the wanted type exactly is refused.
"""

import base64
import binascii
import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from audit.errors import RecordError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Packed:
    """An array as a value: comparable, hashable, compact as text.

    Attributes:
        dtype: numpy's name with byte order: "|u1" for shares of 255, "<f2" or "<f4" for numbers.
        shape: Its shape.
        data: Its bytes in row order.
    """

    dtype: Literal["|u1", "<f2", "<f4"]
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, values: NDArray[Any], dtype: Literal["|u1", "<f2", "<f4"]) -> Self:
        """Pack `values`, converted to `dtype` as numpy does."""
        array = np.ascontiguousarray(values, dtype=dtype)
        return cls(dtype=dtype, shape=tuple(array.shape), data=array.tobytes())

    def array(self) -> NDArray[Any]:
        """Unpack into a read-only array."""
        return np.frombuffer(self.data, dtype=self.dtype).reshape(self.shape)


def packed_shares(shares: NDArray[np.floating]) -> Packed:
    """Pack numbers in [0, 1] as bytes: 255 means 1, and no value moves by more than 1/510."""
    return Packed.of(np.rint(np.clip(shares, 0.0, 1.0) * 255.0), "|u1")


def shares(packed: Packed) -> NDArray[np.float32]:
    """Unpack what `packed_shares` packed: float32 in [0, 1]."""
    return packed.array().astype(np.float32) / np.float32(255.0)


def text(tree: object) -> bytes:
    """Return the one text of a tree of dicts, lists, strings, finite numbers, booleans and None.

    Raises:
        RecordError: If a number is not finite or something else has no JSON form.
    """
    try:
        return json.dumps(
            tree, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
        ).encode()
    except (TypeError, ValueError) as error:
        raise RecordError(f"no canonical text for {tree!r:.200}: {error}") from error


def parse(data: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RecordError: If `data` is not the text of one object.
    """
    try:
        tree = json.loads(data)
    except ValueError as error:
        raise RecordError(f"not JSON: {data[:80]!r}: {error}") from error
    if not isinstance(tree, dict):
        raise RecordError(f"not a JSON object: {data[:80]!r}")
    return tree


def moment(value: datetime) -> str:
    """Return `value` in UTC as text that sorts by time: 2026-11-21T09:30:00.000000Z.

    Raises:
        RecordError: If `value` has no time zone.
    """
    if value.tzinfo is None:
        raise RecordError(f"{value} has no time zone")
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_moment(value: str) -> datetime:
    """Read what `moment` wrote.

    Raises:
        RecordError: If the text is not such a moment.
    """
    try:
        read = datetime.fromisoformat(value)
    except ValueError as error:
        raise RecordError(f"{value!r} is not a moment") from error
    if read.tzinfo is None:
        raise RecordError(f"{value!r} has no time zone")
    return read


def dump(value: Any) -> Any:  # noqa: ANN401 - any field of any record
    """Turn a value of the supported types into a tree of plain JSON types.

    Raises:
        RecordError: If a value has no JSON form.
    """
    if isinstance(value, str) and "\0" in value:
        raise RecordError(f"a text with a NUL, which PostgreSQL does not hold: {value!r:.80}")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, Packed):
        data = base64.b64encode(value.data).decode()
        return {"data": data, "dtype": value.dtype, "shape": list(value.shape)}
    if is_dataclass(value):
        return {name: dump(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, Mapping):
        return {key: dump(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [dump(each) for each in value]
    raise RecordError(f"no canonical form for {type(value).__name__}: {value!r:.80}")


def load(kind: type[T], tree: Any) -> T:  # noqa: ANN401 - whatever JSON held
    """Turn a tree of plain JSON types into a value of type `kind`.

    A field that the tree lacks takes its default, so that a later version may add fields.

    Raises:
        RecordError: If the tree does not fit; the message names the field.
    """
    return _load(kind, tree, kind.__name__)  # type: ignore[no-any-return]


def _names(kind: Any) -> tuple[str, ...]:  # noqa: ANN401 - a dataclass, as a value
    return tuple(_hints(kind))


@cache
def _hints(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    hints = get_type_hints(kind)
    return {each.name: hints[each.name] for each in fields(kind)}


@cache
def _required(kind: Any) -> frozenset[str]:  # noqa: ANN401 - as above
    return frozenset(
        each.name
        for each in fields(kind)
        if each.default is MISSING and each.default_factory is MISSING
    )


def _load(kind: Any, tree: Any, where: str) -> Any:  # noqa: ANN401 - types are values here
    if kind is Packed:
        return _load_packed(tree, where)
    if is_dataclass(kind):
        return _load_dataclass(kind, tree, where)
    origin = get_origin(kind)
    loads = {Union: _load_optional, types.UnionType: _load_optional, Literal: _load_literal}
    loads |= {tuple: _load_tuple, Mapping: _load_mapping}
    return loads.get(origin, _load_scalar)(kind, tree, where)


def _load_literal(kind: Any, tree: Any, where: str) -> Any:  # noqa: ANN401 - as above
    return _expect(tree in get_args(kind), tree, kind, where)


def _load_tuple(kind: Any, tree: Any, where: str) -> Any:  # noqa: ANN401 - as above
    _expect(isinstance(tree, list), tree, kind, where)
    return tuple(_load(get_args(kind)[0], each, f"{where}[]") for each in tree)


def _load_mapping(kind: Any, tree: Any, where: str) -> Any:  # noqa: ANN401 - as above
    _expect(isinstance(tree, dict), tree, kind, where)
    inner = get_args(kind)[1]
    return {key: _load(inner, each, f"{where}.{key}") for key, each in tree.items()}


def _load_optional(kind: Any, tree: Any, where: str) -> Any:  # noqa: ANN401 - as above
    inner = [each for each in get_args(kind) if each is not types.NoneType]
    return None if tree is None else _load(inner[0], tree, where)


def _load_scalar(kind: Any, tree: Any, where: str) -> Any:  # noqa: ANN401 - as above
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(_expect(tree in set(kind), tree, kind, where))
    if kind is datetime:
        return read_moment(_expect(isinstance(tree, str), tree, kind, where))
    if kind is float:
        number = isinstance(tree, int | float) and not isinstance(tree, bool)
        return float(_expect(number, tree, kind, where))
    return _expect(type(tree) is kind, tree, kind, where)


def _load_dataclass(kind: Any, tree: Any, where: str) -> Any:  # noqa: ANN401 - as above
    _expect(isinstance(tree, dict), tree, kind, where)
    hints = _hints(kind)
    if unknown := tree.keys() - hints.keys():
        raise RecordError(f"{where} has no field {sorted(unknown)}")
    if missing := _required(kind) - tree.keys():
        raise RecordError(f"{where} lacks {sorted(missing)}")
    return kind(
        **{name: _load(hints[name], value, f"{where}.{name}") for name, value in tree.items()}
    )


def _load_packed(tree: Any, where: str) -> Packed:  # noqa: ANN401 - as above
    _expect(
        isinstance(tree, dict) and tree.keys() == {"data", "dtype", "shape"}, tree, Packed, where
    )
    dtype = _load(_hints(Packed)["dtype"], tree["dtype"], f"{where}.dtype")
    shape = _load(tuple[int, ...], tree["shape"], f"{where}.shape")
    try:
        data = base64.b64decode(tree["data"], validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise RecordError(f"{where}: not base64") from error
    fits = (
        len(data) == int(np.prod(shape)) * np.dtype(dtype).itemsize and min(shape, default=0) >= 0
    )
    return Packed(dtype, shape, data) if fits else _expect(False, tree, Packed, where)


def _expect(fits: bool, tree: Any, kind: Any, where: str) -> Any:  # noqa: ANN401, FBT001 - a guard
    if not fits:
        raise RecordError(f"{where}: {tree!r:.80} is not {getattr(kind, '__name__', kind)}")
    return tree
