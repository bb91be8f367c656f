"""Retrainings of the staged installation: every step is the runner's own, the clock is set."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from audit import change_control
from models.registry import Registry
from services import clock
from services.retraining import asking, runner
from services.retraining.rows import ACTIVE, Approval, Request
from services.settings import Settings

# One person decides; a few hundredths of Activation Recall may go; no trial with live requests.
_CHANGES = (
    ('by = "rule"', 'by = "one"'),
    ("\nrecall = 0.02", "\nrecall = 0.06"),
    ("requests = 50", "requests = 0"),
)


def plan(home: Path) -> Path:
    """Write the installation's change-control plan and return where."""
    text = change_control.DEFAULT.read_text("utf-8")
    for before, after in _CHANGES:
        text = text.replace(before, after)
    home.mkdir(parents=True, exist_ok=True)
    path = home / "change_control.toml"
    path.write_text(text, "utf-8")
    return path


def run(chosen: Settings, request: Request, at: datetime, *, approval: Approval | None) -> None:
    """Retrain as if it were `at`; without an approval it is left waiting for one."""
    steps = replace(runner.connect_steps(chosen), now=_from(at))
    rules = change_control.load(chosen.change_control or change_control.DEFAULT)
    made = asking.ask(steps.rows, Registry(chosen.registry), rules, request, key=None, now=at)
    name = made.retraining_id
    for step, work in steps.all.items():
        waits = step == "approve"
        steps.rows.move(
            name,
            expected=ACTIVE,
            status="awaiting_approval" if waits else "running",
            step=step,
            now=steps.now(),
            said=f"step {step}",
        )
        if waits and approval is None:
            break
        if waits and approval is not None:
            steps.rows.approve(name, replace(approval, at=steps.now()))
        ended = work(name)
        if ended is not None:
            steps.finish(name, ended)
            break
    steps.recorder.close()
    steps.rows.engine.dispose()


def _from(at: datetime) -> Callable[[], datetime]:
    began = clock.now()
    return lambda: at + (clock.now() - began)
