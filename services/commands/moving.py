"""Moves of the champion pointer from the command line, written down like everybody's."""

from collections.abc import Iterator
from contextlib import contextmanager

from models.registry import Registry
from services import clock
from services.moves import Mover
from services.settings import Settings


@contextmanager
def mover(chosen: Settings) -> Iterator[Mover]:
    """Open what moves pointers; its journal is a source of its own and closed afterwards."""
    from audit import change_control
    from services import recording
    from services.identifiers import identifier

    recorder = recording.open_recorder(
        chosen.journal,
        source=identifier(clock.now()),
        key=recording.secret_key(chosen.home / "image.key"),
        mode="off" if chosen.recording == "off" else "strict",
        durability="fsync",
    )
    plan = chosen.change_control or change_control.DEFAULT
    try:
        yield Mover(Registry(chosen.registry), recorder, lambda: change_control.load(plan).digest)
    finally:
        recorder.close()
