"""How a retraining ends."""

from typing import NamedTuple

from services.retraining.rows import Status


class Ending(NamedTuple):
    """How a retraining ends.

    Attributes:
        status: The final state.
        reason: Why, in a sentence.
    """

    status: Status
    reason: str
