"""What the demo and the tour start ends with them, and their trials say what quiet means."""

import os
import signal
from pathlib import Path

import pytest

from audit import change_control
from services.showing import demo, tour


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_what_was_started_before_the_process(number: signal.Signals) -> None:
    before, ended = signal.getsignal(number), []

    def interrupted() -> None:
        with demo.ending_cleanly():
            try:
                os.kill(os.getpid(), number)
            finally:
                ended.append("the server")

    with pytest.raises(SystemExit) as left:
        interrupted()

    assert 128 + number == left.value.code
    assert ["the server"] == ended
    assert before == signal.getsignal(number)


def test_in_the_tour_nobody_else_asks_so_its_plan_goes_on_without(tmp_path: Path) -> None:
    plan = change_control.load(tour.settings_for(tmp_path, 4001).change_control)

    assert ("go_on", "go_on") == (plan.shadow.when_quiet, plan.canary.when_quiet)
