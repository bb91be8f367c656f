"""Pixels are counted before any is decoded: by request, and by all that are decoded at a time."""

import pytest

from services.answering.budget import Budget
from services.errors import OverloadedError, TooLargeError


def test_one_request_may_not_ask_for_too_much() -> None:
    with (
        pytest.raises(TooLargeError, match="101 pixels together; at most 100"),
        Budget(100, 1000).taking(101),
    ):
        raise AssertionError("it may")


def test_all_together_may_not_but_one_alone_always_may() -> None:
    budget, small = Budget(100, 150), Budget(100, 10)
    with budget.taking(100):
        with pytest.raises(OverloadedError), budget.taking(51):
            raise AssertionError("it may")
        with budget.taking(50):
            pass
    for _ in range(2):  # what was taken is given back
        with small.taking(100):
            pass
