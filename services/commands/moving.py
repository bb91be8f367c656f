"""Moves of the champion pointer from the command line, written down like everybody's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from models.registry import Registry
from services import clock, secret
from services.commands import terminal
from services.rollouts.moves import Mover
from services.settings import Settings


@contextmanager
def mover(chosen: Settings) -> Iterator[Mover]:
    """Open what moves pointers; its journal is a source of its own and closed afterwards."""
    from audit import change_control
    from services.identifiers import identifier
    from services.records import recording

    recorder = recording.open_recorder(
        chosen.journal,
        source=identifier(clock.now()),
        key=secret.secret_key(chosen.home / "image.key"),
        mode="off" if chosen.recording == "off" else "strict",
        durability="fsync",
    )
    plan = chosen.change_control or change_control.DEFAULT
    try:
        yield Mover(Registry(chosen.registry), recorder, lambda: change_control.load(plan).digest)
    finally:
        recorder.close()


def begin(
    chosen: Settings,
    name: str,
    version: int,
    *,
    share: float,
    when_quiet: Literal["", "go_on", "withdraw"],
    reason: str,
    actor: str,
    expected: int | None,
) -> None:
    """Let a version answer a share of the requests, and say what follows."""
    from services.identifiers import identifier

    now = clock.now()
    with mover(chosen) as opened:
        begun = opened.begin(
            name,
            version,
            rollout_id=identifier(now),
            phase="canary",
            share=share,
            when_quiet=when_quiet,
            reason=reason,
            actor=actor,
            now=now,
            expected=expected,
        )
    terminal.say(
        f"[bold]{name}[/]: version {version} answers {share:.0%} of the requests beside version "
        f"{begun.champion}; `rightly canary status {name}` follows it"
    )
