"""`rightly canary status | withdraw`: the trial that `rightly promote --canary` has begun."""

from datetime import datetime
from typing import Annotated

import typer

from services import clock, settings
from services.commands import moving, terminal, versions

Model = Annotated[str | None, typer.Argument(help="The model. Setting: default_model.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Rollout = Annotated[
    str | None, typer.Option(help="Refuse if this rollout is not the one under way.")
]


def status(model: Model = None, *, json: Json = False) -> None:
    """Show the candidate on trial with live requests, and how those before it ended."""
    from dataclasses import asdict

    from services.rollouts import looks

    chosen = settings.load()
    registry, name = versions.opened(), model or versions.default(chosen)
    registry.versions(name)
    pointer, now = registry.pointer(name), clock.now()
    rollout, look, stale = pointer.rollout, None, False
    if rollout is not None:
        look = looks.read(registry.root / name, rollout.rollout_id)
        stale = looks.is_stale(look, datetime.fromisoformat(rollout.since), now=now)
    if json:
        terminal.print_json(
            {
                "model": name,
                "champion": pointer.version,
                "rollout": None if rollout is None else asdict(rollout),
                "look": None if look is None else {**asdict(look), "at": look.at.isoformat()},
                "stale": stale,
                "ended": [asdict(each) for each in reversed(pointer.ended)],
            }
        )
        return
    if rollout is None:
        terminal.say(f"no candidate of {name} is on trial; version {pointer.version} answers")
    else:
        role = "silently" if rollout.phase == "shadow" else f"{rollout.share:.0%} of the requests"
        terminal.say(
            f"[bold]{rollout.phase}[/]: version {rollout.version} of {name} answers {role} beside "
            f"version {rollout.champion} since {rollout.since[:19]}"
        )
        terminal.say(_plain(f"{rollout.rollout_id} by {rollout.actor}: {rollout.reason}"))
        if look is not None:
            terminal.say(_plain(f"{look.at.isoformat()[:19]}  {look.step}: {look.reason}"))
            known = look.evidence.get("known_until") or "none of its time yet"
            terminal.say(_plain(f"the evidence is complete until: {known[:19]}"))
        if stale:
            terminal.say(
                "[bold]stale[/]: nobody looks after it; start `rightly work`, or withdraw it: "
                f'rightly canary withdraw {name} --reason "…"'
            )
    for each in reversed(pointer.ended):
        said = f"{each.outcome} ({each.actor}): {each.reason}"
        terminal.say(_plain(f"{each.at[:19]}  version {each.rollout.version} {said}"))


def withdraw(model: Model = None, *, reason: versions.Reason, rollout: Rollout = None) -> None:
    """Take the candidate off its trial; the champion answers everything again."""
    chosen = settings.load()
    name = model or versions.default(chosen)
    with moving.mover(chosen) as mover:
        gone = mover.withdraw(
            name, reason=reason, actor=versions.actor(), now=clock.now(), rollout_id=rollout
        )
    terminal.say(
        f"[bold]{name}[/]: version {gone.version} is withdrawn, version {gone.champion} answers"
    )


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
