"""Every event of the trail can be said in a sentence."""

from typing import get_args

import pytest

from audit import records, search
from audit.comparisons import ComparisonRecord
from services.console import telling
from tests.entries import every_entry

EVENTS = [each for each in every_entry() if not isinstance(each, records.ImageRecord)]


def test_every_kind_can_be_searched_for_and_has_a_name() -> None:
    kinds = {each.kind for each in get_args(records.Event)}

    assert kinds == set(telling.KINDS) == set(search.KINDS)


@pytest.mark.parametrize("event", EVENTS, ids=lambda each: each.kind)
def test_an_event_says_something(event: records.Event) -> None:
    assert len(telling.sentence(event)) > 3


def test_a_candidate_that_failed_says_why() -> None:
    compared = next(each for each in EVENTS if isinstance(each, ComparisonRecord))

    assert "says 7, 90.0% sure, as the champion" in telling.sentence(compared)
