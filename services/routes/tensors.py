"""Tensors of the Open Inference Protocol ↔ numpy: nested lists in JSON, or bytes behind it.

A body in binary is a JSON part of `Inference-Header-Content-Length` bytes, then the tensors that
say `binary_data_size`, in their order. BYTES elements carry their length before them as four
bytes, the lowest first.
"""

import base64
import binascii
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from services.contract.inference import InferRequest, TensorReply, TensorRequest
from services.errors import InvalidFieldsError, MalformedError, RequestError

HEADER: Final = "inference-header-content-length"
_LENGTH: Final = struct.Struct("<I")
_SIZE, _WANTED, _ALL = "binary_data_size", "binary_data", "binary_data_output"
DTYPES: Final[Mapping[str, str]] = {"UINT8": "u1", "BOOL": "?", "FP32": "<f4", "INT64": "<i8"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """An output on its way.

    Attributes:
        name: Its name.
        datatype: Of the protocol: "FP32", "INT64" or "BYTES".
        values: Numbers, or an object array of text for BYTES.
    """

    name: str
    datatype: str
    values: NDArray[Any]


def parse(content: bytes, header: str | None) -> tuple[InferRequest, Sequence[bytes | None]]:
    """Return what a body asks, and the bytes of each input that came in binary.

    Args:
        content: The body.
        header: Value of `HEADER`; None where the whole body is JSON.

    Raises:
        MalformedError: If header, JSON part and binary part do not fit together.
        InvalidFieldsError: If the JSON part does not say what it must.
    """
    length = len(content)
    if header is not None:
        if not header.isdecimal() or int(header) > length:
            raise MalformedError(f"{HEADER} is {header[:40]!r}, the body has {length} bytes")
        length = int(header)
    try:
        wish = InferRequest.model_validate_json(content[:length])
    except ValidationError as error:
        raise InvalidFieldsError(error.errors(include_input=False, include_url=False)) from error
    parts: list[bytes | None] = []
    for tensor in wish.inputs:
        size = tensor.parameters.get(_SIZE)
        if size is None:
            parts.append(None)
            continue
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise RequestError(f"{tensor.name}: {_SIZE} is {size!r}, not a number of bytes")
        if length + size > len(content):
            raise MalformedError(f"{tensor.name}: {size} bytes are promised, fewer came")
        parts.append(content[length : length + size])
        length += size
    if length != len(content):
        raise MalformedError(f"{len(content) - length} bytes belong to no tensor")
    return wish, parts


def elements(tensor: TensorRequest, raw: bytes | None) -> list[bytes]:
    """Return the elements of a BYTES tensor: encoded files.

    Raises:
        RequestError: If they are not as many as its shape says, or not readable.
    """
    found = _framed(tensor.name, raw) if raw is not None else _texts(tensor)
    if len(found) != math.prod(tensor.shape):
        raise RequestError(f"{tensor.name}: {len(found)} elements for shape {tensor.shape}")
    return found


def numbers(tensor: TensorRequest, raw: bytes | None) -> NDArray[Any]:
    """Return a tensor of numbers as an array of its shape.

    Raises:
        RequestError: If its elements are not as many or not of the kind that it says.
    """
    kind = np.dtype(DTYPES[tensor.datatype])
    size = math.prod(tensor.shape)
    if raw is not None:
        if len(raw) != size * kind.itemsize:
            expected = size * kind.itemsize
            raise RequestError(f"{tensor.name}: {len(raw)} bytes, shape takes {expected}")
        return np.frombuffer(raw, kind).reshape(tensor.shape)
    try:
        values = np.asarray(tensor.data if tensor.data is not None else [])
    except ValueError as error:
        raise RequestError(f"{tensor.name}: its rows are of different lengths") from error
    whole = values.dtype.kind in "iub" and (not values.size or _fits(values, kind))
    if values.size != size or not whole:
        raise RequestError(
            f"{tensor.name}: {values.size} elements; {size} of {tensor.datatype} are expected"
        )
    return values.astype(kind).reshape(tensor.shape)


def _fits(values: NDArray[Any], kind: "np.dtype[Any]") -> bool:
    if kind.kind == "b":
        return values.dtype.kind == "b" or bool(np.isin(values, (0, 1)).all())
    limits = np.iinfo(kind)
    return bool(values.min() >= limits.min and values.max() <= limits.max)


def _framed(name: str, raw: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(raw):
        if at + _LENGTH.size > len(raw):
            raise RequestError(f"{name}: an element's length is cut off")
        [size] = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        if at + size > len(raw):
            raise RequestError(f"{name}: an element is cut off")
        found.append(raw[at : at + size])
        at += size
    return found


def _texts(tensor: TensorRequest) -> list[bytes]:
    flat: list[Any] = []
    waiting: list[Any] = list(tensor.data or [])
    while waiting:
        each = waiting.pop(0)
        waiting[:0] = each if isinstance(each, list) else []
        flat += [] if isinstance(each, list) else [each]
    if any(not isinstance(each, str) for each in flat):
        raise RequestError(f"{tensor.name}: BYTES in JSON are texts of base64")
    try:
        return [base64.b64decode(each, validate=True) for each in flat]
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"{tensor.name} is not base64: {error}") from error


def answer(
    wish: InferRequest, head: Mapping[str, Any], tensors: Sequence[Tensor]
) -> tuple[bytes, int | None]:
    """Return a body, and the length of its JSON part; None where that is all of it.

    Args:
        wish: What was asked, outputs checked.
        head: The fields of `InferReply` beside the outputs.
        tensors: The outputs that are wanted.
    """
    default = bool(wish.parameters.get(_ALL, False))
    chosen = {each.name: bool(each.parameters.get(_WANTED, default)) for each in wish.outputs}
    shown, tail = [], []
    for each in tensors:
        shape = list(each.values.shape)
        if chosen.get(each.name, default):
            raw = _binary(each)
            tail.append(raw)
            reply = TensorReply(
                name=each.name,
                datatype=each.datatype,  # type: ignore[arg-type]  # one of the protocol's
                shape=shape,
                parameters={_SIZE: len(raw)},
            )
        else:
            reply = TensorReply(
                name=each.name,
                datatype=each.datatype,  # type: ignore[arg-type]  # as above
                shape=shape,
                data=each.values.ravel().tolist(),
            )
        shown.append(reply.model_dump(exclude_none=True))
    text = json.dumps({**head, "outputs": shown}, allow_nan=False).encode()
    return (text + b"".join(tail), len(text)) if tail else (text, None)


def _binary(tensor: Tensor) -> bytes:
    if tensor.datatype != "BYTES":
        return tensor.values.astype(DTYPES[tensor.datatype]).tobytes()
    encoded = [str(each).encode() for each in tensor.values.ravel()]
    return b"".join(_LENGTH.pack(len(each)) + each for each in encoded)
