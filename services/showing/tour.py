"""The first look in the browser: `python -m services.showing.tour`, or `make tour`.

As the demo begins: the model of a fresh installation is served in a temporary home and asked
until the audit raises its alarm. From there on nothing happens by itself. Whoever opens the
address reviews, asks for a retraining, watches it, reads the verdict and approves;
`docs/how-to/review.md` goes through it.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from audit import change_control
from models.registry import Registry
from models.training import digits, generators
from services import clock, settings
from services.commands import serving, terminal
from services.settings import Settings
from services.showing import demo
from services.versions import embedded

_SOON: Final = 60.0  # seconds for an alarm, once the answers of a cue are in
# One person decides, and the trials with live requests are short: nobody else asks here, so they
# go on without.
_CHANGES: Final = (
    ('by = "rule"', 'by = "one"'),
    ('when_quiet = "withdraw"', 'when_quiet = "go_on"'),
    ("seconds = 60.0", "seconds = 3.0"),
    ("seconds = 120.0", "seconds = 6.0"),
)


def main() -> int:
    """Serve until Ctrl-C; return 0 where there was an alarm to begin with."""
    port = settings.load().port
    with (
        demo.ending_cleanly(),
        tempfile.TemporaryDirectory(prefix="rightly-tour-") as home,
    ):
        chosen = settings_for(Path(home), port)
        serving.check_free(chosen)
        with begun(chosen) as (client, alarmed):
            terminal.say(f"\nopen [bold]{client.base_url}[/], Ctrl-C ends it and leaves nothing")
            try:
                while alarmed:
                    time.sleep(1.0)
            except KeyboardInterrupt:
                terminal.say("")
    return 0 if alarmed else 1


def settings_for(home: Path, port: int) -> Settings:
    """Return the settings of a tour, its change-control plan written beside everything else."""
    home.mkdir(parents=True, exist_ok=True)
    text = change_control.DEFAULT.read_text("utf-8")
    for before, after in _CHANGES:
        text = text.replace(before, after)
    plan = home / "change_control.toml"
    plan.write_text(text, "utf-8")
    change_control.load(plan)
    return Settings(
        home=home,
        port=port,
        audit_port=0,
        device="cpu",
        change_control=plan,
        policy_requests=0,
    )


@contextmanager
def begun(chosen: Settings) -> Iterator[tuple[httpx.Client, bool]]:
    """Serve for a block, with the alarm raised; yield a client, and whether it was."""
    with terminal.progress() as report:
        embedded.ensure_default(Registry(chosen.registry), now=clock.now(), progress=report)
    tests = generators.coloured_corner_decoy(digits.five_thousand_digits()).tests
    with demo.server(chosen) as client:
        alarmed = False
        for cue in ("correlated", "random", "clean"):
            right = demo.replay(client, tests[cue])
            terminal.say(f"answered images whose cue is {cue}: {right:.1%} right")
            if cue != "correlated" and (alarmed := demo.show_alarms(client, _SOON)):
                break
        yield client, alarmed


if __name__ == "__main__":
    sys.exit(main())
