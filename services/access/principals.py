"""Who is asking: a name, a role, and how it was shown.

The door (`services.access.door`) decides it once per request, before a body is read. A route takes
it as `Asking` (`services.routes.depending`); a page asks `current`.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, Self

from services.errors import ForbiddenError, RequestError


class Role(IntEnum):
    """What somebody may do; each role may do all that the one below it may."""

    ANYONE = 0
    """Nobody has to sign in for it."""
    CLIENT = 1
    """A program: ask for predictions, find them again, send late labels and regions."""
    VIEWER = 2
    """Look at everything."""
    REVIEWER = 3
    """Judge answers, acknowledge alarms."""
    APPROVER = 4
    """Ask for retrainings, approve, promote, roll back, export."""
    ADMIN = 5
    """All that."""

    @classmethod
    def named(cls, word: str) -> Self:
        """Return the role of this name, as in settings and key files.

        Raises:
            ValueError: If it is none that somebody can have.
        """
        known = {each.name.lower(): each for each in cls if each is not cls.ANYONE}
        if word.lower() not in known:
            raise ValueError(f"{word!r} is no role; there are {', '.join(known)}")
        return known[word.lower()]

    @property
    def word(self) -> str:
        """The role's name in lower case."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever made a request.

    Attributes:
        name: As it enters the audit trail; "" for one who has not signed in.
        role: What may be done.
        how: "off" where there is no sign-in at all, "nobody" before it, else the way of it.
        csrf: What a page must send along with a change; "" where no cookie is at work.
    """

    name: str
    role: Role
    how: Literal["off", "nobody", "key", "session"]
    csrf: str = ""

    @property
    def signed_in(self) -> bool:
        """Whether the name is shown, not only said."""
        return self.how in {"key", "session"}

    def may(self, role: Role) -> bool:
        """Whether the principal may do what this role is needed for."""
        return self.role >= role

    def require(self, role: Role, what: str) -> None:
        """Refuse what the table of roles cannot tell from the route alone.

        Raises:
            ForbiddenError: If the principal's role is lower.
        """
        if not self.may(role):
            raise ForbiddenError(f"{what} needs the role {role.word}; yours is {self.role.word}")

    def actor(self, said: str | None) -> str:
        """Return the name to write down: the signed-in one, whatever the request says.

        Args:
            said: What the request says; counts only where there is no sign-in.

        Raises:
            RequestError: If there is no sign-in and the request says no name.
        """
        if self.signed_in:
            return self.name
        if not said:
            raise RequestError("actor: say who decides, there is no sign-in that would tell")
        return said


LOCAL = Principal("", Role.ADMIN, "off")
NOBODY = Principal("", Role.ANYONE, "nobody")

_CURRENT: ContextVar[Principal | None] = ContextVar("principal", default=None)
# The guard sets it for the time of one request; tasks and threads of the request inherit it.
enter = _CURRENT.set
leave = _CURRENT.reset
current = _CURRENT.get
