"""The note of pages while what retraining needs is being installed, or could not be."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services import clock
from services.parts import progress

_USUAL_SECONDS: Final = 60.0  # with uv on two cores; pip takes some minutes
_LONGEST_SECONDS: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Note:
    """What a page says about retraining.

    Attributes:
        kind: Class of the paragraph: "note", or "note warning".
        text: A sentence.
    """

    kind: str
    text: str


def note(home: Path) -> Note | None:
    """Return what to say; None where retraining is ready, or nothing is known about it."""
    found = progress.read(home)
    if found is None or found.state in {"ready", "interrupted"}:
        return None
    if found.state == "failed":
        return Note("note warning", f"Retraining is not ready: {found.said}.")
    seconds = found.seconds(clock.now())
    if seconds > _LONGEST_SECONDS:
        return None  # whoever installed was killed before it could say so
    when = "in about a minute" if seconds < _USUAL_SECONDS else "soon"
    return Note(
        "note",
        f"Retraining: ready {when}. What it needs has been being installed for {seconds:.0f} s; "
        "a retraining that is asked for meanwhile waits for it.",
    )
