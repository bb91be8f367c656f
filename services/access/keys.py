"""API keys: a file of names, roles and digests; a key itself is shown once and kept nowhere.

A key is `rightly_<id>_<secret>`: the id finds its line, the secret has 256 random bits, so a fast
digest (SHA-256) is enough; slow ones protect what people make up. The file is read again when it
changes: a key that is added or revoked counts at once, in every worker.
"""

import hashlib
import hmac
import json
import re
import secrets
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path

from audit.canonical import moment
from models import durable
from services.access.principals import Role
from services.errors import ConflictError, RequestError

NAME = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
_FORM = re.compile(r"rightly_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_SECRET_BYTES, _ID_BYTES = 32, 6
_MODE = 0o600
# Compared with where no line has the id, so that both refusals take the same way.
_NONE = hashlib.sha256(secrets.token_bytes(_SECRET_BYTES)).hexdigest()


@dataclass(frozen=True, slots=True)
class Key:
    """One line of the file.

    Attributes:
        key_id: Finds it; shown in lists.
        name: Of the person or program that holds it; several keys may have one name.
        role: What it may do, in lower case.
        digest: SHA-256 of the secret, in hexadecimal.
        created_at: When it was made, canonical.
        revoked_at: When it stopped counting; "" while it counts.
    """

    key_id: str
    name: str
    role: str
    digest: str
    created_at: str
    revoked_at: str = ""


@dataclass(slots=True)
class Keys:
    """The file, as commands and workers use it; safe in threads.

    Attributes:
        path: The file; without it there are no keys.
    """

    path: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seen: tuple[int, int, int] | None = None
    _known: dict[str, Key] = field(default_factory=dict)

    def add(self, name: str, role: Role, *, now: datetime) -> str:
        """Make a key and return it; it cannot be shown again.

        Raises:
            RequestError: If the name is empty, too long or has control characters.
        """
        if not NAME.fullmatch(name) or name != name.strip():
            raise RequestError("a name has 1 to 128 characters, none of them a control character")
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        made = Key(secrets.token_hex(_ID_BYTES), name, role.word, _digest(secret), moment(now))
        with durable.exclusive(self._beside):
            self._write([*self._read(), made])
        return f"rightly_{made.key_id}_{secret}"

    def revoke(self, key_id: str, *, now: datetime) -> Key:
        """End a key; sessions that began with it end as well.

        Raises:
            RequestError: If there is no such key.
            ConflictError: If it was revoked before.
        """
        with durable.exclusive(self._beside):
            known = {each.key_id: each for each in self._read()}
            found = known.get(key_id)
            if found is None:
                raise RequestError(f"there is no key {key_id!r}; `rightly keys list` shows all")
            if found.revoked_at:
                raise ConflictError(f"key {key_id} was revoked at {found.revoked_at}")
            known[key_id] = replace(found, revoked_at=moment(now))
            self._write(list(known.values()))
        return known[key_id]

    def everything(self) -> Sequence[Key]:
        """Return all keys, revoked ones too, oldest first."""
        return list(self._fresh().values())

    def held(self, key: str) -> Key | None:
        """Return the line of a key that counts; None for anything else, without saying why."""
        form = _FORM.fullmatch(key)
        found = self.by_id(form[1]) if form else None
        expected = found.digest if found else _NONE
        same = hmac.compare_digest(_digest(form[2] if form else key), expected)
        return found if same else None

    def by_id(self, key_id: str) -> Key | None:
        """Return the line of a key that counts, for a session that began with it."""
        found = self._fresh().get(key_id)
        return None if found is None or found.revoked_at else found

    @property
    def _beside(self) -> Path:
        return self.path.with_name(f".{self.path.name}.lock")

    def _fresh(self) -> dict[str, Key]:
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return {}
        with self._lock:
            seen = (now.st_mtime_ns, now.st_size, now.st_ino)
            if seen != self._seen:
                self._known = {each.key_id: each for each in self._read()}
                self._seen = seen
            return self._known

    def _read(self) -> list[Key]:
        if not self.path.exists():
            return []
        return [Key(**each) for each in json.loads(self.path.read_text("utf-8"))["keys"]]

    def _write(self, every: list[Key]) -> None:
        body = json.dumps({"keys": [asdict(each) for each in every]}, indent=1)
        durable.write(self.path, body.encode() + b"\n")
        self.path.chmod(_MODE)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
