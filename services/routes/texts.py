"""Bytes that were written as text: base64 in its usual spellings, and data URLs.

References:
    RFC 4648 (base64, and its alphabet for URLs), RFC 2045 (lines), RFC 2397 (data URLs).
"""

import base64
import binascii
from typing import Final
from urllib.parse import unquote_to_bytes

from services.errors import RequestError

_ORDINARY: Final = bytes.maketrans(b"-_", b"+/")
_BLANKS: Final = b" \t\r\n\f\v"
_GROUP: Final = 4


def decoded(name: str, text: str | bytes) -> bytes:
    """Return the bytes behind base64 or a data URL.

    Lines may be wrapped, the alphabet may be the one for URLs, and the padding may be missing.

    Args:
        name: Of the field, for the message.
        text: As it came.

    Raises:
        RequestError: If it is neither.

    Examples:
        >>> decoded("image", "aGVs bG8")
        b'hello'
        >>> decoded("image", "data:text/plain;base64,aGVsbG8=")
        b'hello'
    """
    try:
        content = text if isinstance(text, bytes) else text.encode("ascii")
    except UnicodeEncodeError as error:
        raise RequestError(f"{name} is not base64: it holds other letters") from error
    if content[:5].lower() == b"data:":
        kind, comma, content = content.partition(b",")
        if not comma:
            raise RequestError(f"{name} is a data URL without a comma, so without content")
        content = unquote_to_bytes(content) if b"%" in content else content
        if not kind.lower().rstrip().endswith(b";base64"):
            return content
    plain = content.translate(_ORDINARY, _BLANKS)
    bare = plain.rstrip(b"=")
    padding = len(plain) - len(bare)
    if padding and len(plain) % _GROUP:
        raise RequestError(f"{name} is not base64: its padding does not fit its length")
    try:
        return base64.b64decode(bare + b"=" * (-len(bare) % _GROUP), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"{name} is not base64: {error}") from error
