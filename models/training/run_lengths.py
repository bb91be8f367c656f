"""COCO's run lengths → masks: columns first, zeros first, as a list or compressed to text.

In the compressed form each length, from the fourth on as the difference to the one two before it,
stands in groups of five bits from the lowest on, each written as a letter from "0" on; the sixth
bit says that more groups follow, and the fifth of the last is the sign.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ZERO, _BITS, _MORE, _SIGN, _MASK = 48, 5, 0x20, 0x10, 0x1F
_LONGEST = 7  # groups: more than any image has pixels


def mask_of(shape: Mapping[str, Any], largest: int) -> NDArray[np.bool_]:
    """Return the mask, bool [height, width].

    Args:
        shape: "size" (height, width), and "counts".
        largest: Most pixels.

    Raises:
        ValueError: If the lengths do not cover the size, or are none.
    """
    height, width = (int(each) for each in shape["size"])
    if height < 1 or width < 1 or height * width > largest:
        raise ValueError(f"run lengths of {height} × {width} pixels")
    counts = shape["counts"]
    if isinstance(counts, str | bytes):
        counts = uncompressed(counts.encode() if isinstance(counts, str) else counts)
        rest = height * width - sum(counts)
        if rest > 0:  # nothing is marked there, as the reference implementation reads it
            counts += [rest] if len(counts) % 2 == 0 else [0, rest]
    lengths = np.asarray(counts, np.int64)
    if lengths.ndim != 1 or (lengths < 0).any() or int(lengths.sum()) != height * width:
        raise ValueError(f"the run lengths cover {int(lengths.sum())} pixels of {height * width}")
    values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return values.reshape(width, height).T


def uncompressed(text: bytes) -> list[int]:
    """Return the lengths behind the compressed form.

    Raises:
        ValueError: If it is none.

    Examples:
        >>> uncompressed(b"03")
        [0, 3]
    """
    lengths: list[int] = []
    value = group = 0
    for letter in text:
        code = letter - _ZERO
        if not 0 <= code < 2 * _MORE or group > _LONGEST:
            raise ValueError(f"{chr(letter)!r} is no part of compressed run lengths")
        value |= (code & _MASK) << (_BITS * group)
        group += 1
        if code & _MORE:
            continue
        if code & _SIGN:
            value -= 1 << (_BITS * group)
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)  # noqa: PLR2004 - the fourth
        value = group = 0
    if group:
        raise ValueError("the compressed run lengths end in the middle of one")
    return lengths
