"""The outermost line between a user's mistake and a traceback, for commands and their children.

What we refuse is one sentence. So is what the machine refuses: a file that cannot be opened, text
that is no UTF-8, memory that is full. Anything else is a fault of ours and keeps its traceback.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from audit.errors import AuditError
from models.errors import ModelsError
from services.settings import SettingsError

# Of libraries that may not be loaded: then they have raised nothing either.
_ELSEWHERE = (
    ("PIL.Image", "DecompressionBombError"),
    ("sqlalchemy.exc", "SQLAlchemyError"),
    ("httpx", "HTTPError"),
    ("safetensors", "SafetensorError"),
    ("services.errors", "ServiceError"),
)


def refusals() -> tuple[type[Exception], ...]:
    """Return every exception that means a mistake or a lack, not a fault of ours."""
    loaded = [
        getattr(sys.modules[module], name) for module, name in _ELSEWHERE if module in sys.modules
    ]
    return (SettingsError, ModelsError, AuditError, OSError, UnicodeError, MemoryError, *loaded)


def sentence(error: Exception) -> str:
    """Return one line for people: what was refused and, where the system says so, which file."""
    if isinstance(error, OSError) and error.strerror:
        named = "" if error.filename is None else f"{str(error.filename)[:200]}: "
        return f"{named}{error.strerror}"
    if isinstance(error, UnicodeError):
        return f"text that is not UTF-8: {error}"
    if isinstance(error, MemoryError):
        return f"the memory is full: {error}".removesuffix(": ")
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def one_line() -> Iterator[None]:
    """End the process with one line on the standard error where the block is refused something.

    Raises:
        SystemExit: With status 1, after a refusal.
    """
    try:
        yield
    except refusals() as error:
        sys.stderr.write(f"error: {sentence(error)}\n")
        raise SystemExit(1) from None
