"""The recorded images: one file per answer under its keyed address, erasable one by one."""

import contextlib
import os
import re
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from audit.errors import StoreError
from audit.journal.writer import sync_folder

_AT_ONCE = 16
_ADDRESS = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """Images below one folder, spread over two levels of subfolders.

    Attributes:
        root: The folder; created with the first image.
    """

    root: Path

    def write(self, address: str, png: bytes) -> None:
        """Store an image durably; storing the same address again changes nothing.

        Raises:
            StoreError: If `address` is not an address.
            OSError: If the disk refuses.
        """
        path = self._path(address)
        if path.exists():
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".{address}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(png)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)

    def write_all(self, images: Mapping[str, bytes]) -> None:
        """Store many images durably, by address; file systems join syncs that come together.

        Raises:
            StoreError: If one is not an address.
            OSError: If the disk refuses.
        """
        if images:
            with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
                list(pool.map(self.write, images.keys(), images.values()))

    def read(self, address: str) -> bytes | None:
        """Return the image's PNG; None where it is not, or no longer, kept.

        Raises:
            StoreError: If `address` is not an address.
        """
        try:
            return self._path(address).read_bytes()
        except FileNotFoundError:
            return None

    def erase(self, address: str) -> bool:
        """Delete an image; return whether there was one.

        Raises:
            StoreError: If `address` is not an address.
        """
        path = self._path(address)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        with contextlib.suppress(FileNotFoundError):
            sync_folder(path.parent)
        return True

    def _path(self, address: str) -> Path:
        if not _ADDRESS.fullmatch(address):
            raise StoreError(f"an image address is 64 hexadecimal digits, not {address!r}")
        return self.root / address[:2] / address[2:4] / f"{address}.png"
