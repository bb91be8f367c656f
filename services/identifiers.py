"""Identifiers that sort by time: ULIDs, 26 characters of Crockford's base 32.

48 bits of milliseconds since 1970 and 80 random bits, most significant first, so that text order
is time order. Two identifiers of the same millisecond differ in the random part; their order is
not defined.

References:
    The ULID specification, https://github.com/ulid/spec.
"""

import hashlib
import re
import secrets
from datetime import datetime

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PATTERN = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$"
_FORM = re.compile(PATTERN)
_LENGTH, _RANDOM_BITS = 26, 80


def identifier(now: datetime, *, entropy: int | None = None) -> str:
    """Return a new identifier.

    Args:
        now: The moment that the identifier sorts by; timezone-aware, 1970 or later.
        entropy: The random part, in [0, 2^80); drawn from the system when None.

    Returns:
        26 characters of `ALPHABET`.

    Raises:
        ValueError: If `now` is before 1970 or `entropy` is out of its range.
    """
    milliseconds = int(now.timestamp() * 1000)
    random = secrets.randbits(_RANDOM_BITS) if entropy is None else entropy
    if milliseconds < 0 or not 0 <= random < 1 << _RANDOM_BITS:
        raise ValueError(f"no identifier for {now} with entropy {entropy}")
    number = milliseconds << _RANDOM_BITS | random
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))


def is_identifier(text: str) -> bool:
    """Whether `text` has the form of an identifier."""
    return _FORM.fullmatch(text) is not None


def sampled(prediction_id: str, share: float) -> bool:
    """Whether an answer is in the sample: the same answer always, about `share` of all."""
    number = int.from_bytes(hashlib.sha256(prediction_id.encode()).digest()[:8])
    return number < share * 2**64
