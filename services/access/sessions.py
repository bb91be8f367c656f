"""Sessions of browsers: a signed cookie that says who has signed in, and until when.

Nothing is stored while a session lasts, so any worker can read it; one that was ended before its
time leaves an empty file, so that a copied cookie ends with it. Each session has a token for
changes that only pages of ours can know (a synchronizer token, derived instead of stored).

References:
    RFC 6265 sections 4.1 and 8 (cookies); OWASP, "Cross-Site Request Forgery Prevention".
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

_ID_BYTES = 16
_LONGEST = 4096  # bytes of a cookie that browsers keep


@dataclass(frozen=True, slots=True)
class Session:
    """What the cookie says.

    Attributes:
        session_id: Random, in hexadecimal.
        until: When it ends, in seconds since 1970.
        key_id: The API key that it began with; "" for another way of signing in.
        name: Who; "" where the key's line says it.
        role: What may be done, in lower case; "" likewise.
    """

    session_id: str
    until: int
    key_id: str = ""
    name: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True)
class Sessions:
    """Begins, reads and ends sessions.

    Attributes:
        key: The secret that signs them.
        ended: Folder of those that were ended before their time.
        lifetime: How long one lasts.
    """

    key: bytes
    ended: Path
    lifetime: timedelta

    def begin(
        self, *, now: datetime, key_id: str = "", name: str = "", role: str = ""
    ) -> tuple[Session, str]:
        """Return a new session and its cookie's value."""
        until = int((now + self.lifetime).timestamp())
        made = Session(secrets.token_hex(_ID_BYTES), until, key_id, name, role)
        return made, self.signed(asdict(made), "session")

    def read(self, cookie: str, *, now: datetime) -> Session | None:
        """Return the session of a cookie; None for one that is forged, over or ended."""
        said = self.verified(cookie, "session")
        if said is None or said["until"] <= now.timestamp():
            return None
        found = Session(**said)
        return None if (self.ended / found.session_id).exists() else found

    def end(self, session: Session, *, now: datetime) -> None:
        """End a session in every worker, and forget those that are over anyway."""
        self.ended.mkdir(parents=True, exist_ok=True)
        mark = self.ended / session.session_id
        mark.touch()
        os.utime(mark, (session.until, session.until))  # it can be forgotten from then on
        for each in self.ended.iterdir():
            if each.stat().st_mtime < now.timestamp():
                each.unlink(missing_ok=True)

    def token(self, session: Session) -> str:
        """Return what a page must send along with a change."""
        return self._tag(session.session_id.encode(), "csrf").hex()

    def signed(self, said: Mapping[str, object], purpose: str) -> str:
        """Return values that only we can have made, as text for a cookie.

        Args:
            said: JSON values.
            purpose: Signatures for one purpose do not count for another.
        """
        body = json.dumps(said, separators=(",", ":")).encode()
        return _text(body) + "." + _text(self._tag(body, purpose))

    def verified(self, text: str, purpose: str) -> dict[str, Any] | None:
        """Return what `signed` was given; None where we have not signed it for this purpose."""
        body, dot, tag = text.partition(".")
        if not dot or len(text) > _LONGEST:
            return None
        try:
            content, given = _content(body), _content(tag)
        except (binascii.Error, ValueError):
            return None
        if not hmac.compare_digest(self._tag(content, purpose), given):
            return None
        said: dict[str, Any] = json.loads(content)
        return said

    def _tag(self, content: bytes, purpose: str) -> bytes:
        person = hashlib.sha256(b"rightly " + purpose.encode()).digest()
        key = hmac.digest(self.key, person, "sha256")
        return hmac.digest(key, content, "sha256")


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _content(text: str) -> bytes:
    padded = text + "=" * (-len(text) % 4)
    return base64.b64decode(padded, altchars=b"-_", validate=True)
