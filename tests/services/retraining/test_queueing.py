"""Whose turn it is."""

from datetime import UTC, datetime

import pytest

from services.retraining.queueing import turn
from services.retraining.rows import PRIORITIES, Priority, Request, Retraining

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def row(name: str, step: str = "queued", priority: Priority = "normal") -> Retraining:
    request = Request(f"model-{name}", "auto", "an alarm", "ann", priority=priority)
    status = "queued" if step == "queued" else "running"
    return Retraining(name, request, None, status, step, 0, None, {}, "", NOW, NOW)


def test_the_urgent_ones_come_first_and_equal_ones_in_the_order_of_asking() -> None:
    waiting = [row("c"), row("a", priority="low"), row("d", priority="high"), row("b")]

    assert [each.retraining_id for each in turn(waiting, [], most=9)] == ["d", "b", "c", "a"]
    assert PRIORITIES == ("high", "normal", "low")


@pytest.mark.parametrize(
    ("steps", "begin"),
    [([], 2), (["train"], 1), (["train", "collect"], 0), (["approve", "train"], 1)],
)
def test_no_more_learn_at_a_time_than_the_setting_says(steps: list[str], begin: int) -> None:
    """One that waits for a person keeps no processor busy."""
    begun = [row(f"x{number}", step) for number, step in enumerate(steps)]

    assert len(turn([row("a"), row("b"), row("c")], begun, most=2)) == begin
