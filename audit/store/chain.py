"""The hash chain: what ties every event to all before it, and to this installation.

For event n with header h_n (all columns but the last two, as canonical text):

    commitment_n = HMAC-SHA256(secret_n, body_n)        secret_n is random and erased with the body
    link_n       = SHA-256(link_{n-1} ‖ h_n)            anybody can check it
    seal_n       = HMAC-SHA256(chain key, link_n)       only this installation can make it

Links enter as their hexadecimal text. Without the secret a commitment tells nothing about the
body, so erasing both leaves the chain whole. The chain key lies outside the database: who can
write to the database alone cannot add an event.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from audit import canonical

SECRET_BYTES = 32
HEADER = (
    "seq",
    "source",
    "segment",
    "offset",
    "kind",
    "event_id",
    "event_time",
    "ingested_at",
    "commitment",
)
GENESIS = hashlib.sha256(b"rightly audit chain 1").hexdigest()


def commit(secret: bytes, body: bytes) -> str:
    """Return the commitment to `body`: 64 hexadecimal digits."""
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


def link(before: str, row: Mapping[str, Any]) -> str:
    """Return the link of an event's row after the link `before`."""
    header = canonical.text({name: row[name] for name in HEADER})
    return hashlib.sha256(before.encode() + header).hexdigest()


def seal(key: bytes, made: str) -> str:
    """Return this installation's seal on a link."""
    return hmac.new(key, made.encode(), hashlib.sha256).hexdigest()
