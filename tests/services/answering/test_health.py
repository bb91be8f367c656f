"""What is broken, and what to do: every fault is told, and nothing else is."""

from dataclasses import replace
from datetime import timedelta

import pytest

from audit.store.anchors import RESTORED
from services.answering.health import FOLLOWED_WITHIN, Facts, is_watched, troubles
from services.records.presence import SILENT_AFTER, Presence
from tests.entries import START

WELL = Presence(START, {})
GONE = Presence(START - SILENT_AFTER - timedelta(seconds=1), {})
FINE = Facts(followed=START, auditor=WELL, runner=WELL)


def test_where_all_is_well_nothing_is_told() -> None:
    assert [] == troubles(FINE, now=START)
    assert [] == troubles(replace(FINE, runner=None, wants_runner=False), now=START)
    assert is_watched([])


@pytest.mark.parametrize(
    ("facts", "kind", "stops", "watched", "words"),
    [
        (replace(FINE, is_recording=False), "recording", False, False, "Nothing is written down"),
        (replace(FINE, unwritable="disk full"), "recording", True, False, "cannot be written"),
        (replace(FINE, followed=None), "following", True, True, "looked at ever"),
        (
            replace(FINE, followed=START - FOLLOWED_WITHIN - timedelta(seconds=1)),
            *("following", True, True, "looked at since 2026-03-01 11:57:59"),
        ),
        (
            replace(FINE, followed=START + FOLLOWED_WITHIN + timedelta(seconds=1)),
            *("following", True, True, "looked at since"),
        ),
        (replace(FINE, unserved={"serving m": "NaN"}), "version", False, True, "serving m"),
        (replace(FINE, store="away"), "store", False, False, "does not answer"),
        (replace(FINE, auditor=None), "auditor", False, False, "nobody watches"),
        (replace(FINE, auditor=GONE), "auditor", False, False, "is silent since"),
        (
            replace(FINE, auditor=Presence(START, {"source w": "altered"})),
            *("journal", False, True, "source w"),
        ),
        (
            replace(FINE, auditor=Presence(START, {"taking a step": "no room"})),
            *("auditor", False, False, "taking a step"),
        ),
        (
            replace(FINE, auditor=Presence(START, {RESTORED: "it ends at event 3"})),
            *("store", False, False, "its anchors know"),
        ),
        (replace(FINE, runner=None), "runner", False, True, "No runner has worked"),
        (replace(FINE, runner=GONE), "runner", False, True, "is silent since"),
        (replace(FINE, runner=GONE, wants_runner=False), "runner", False, True, "is silent since"),
        (
            replace(FINE, runner=Presence(START, {"a trial": "x"})),
            "runner",
            False,
            True,
            "a trial",
        ),
    ],
)
def test_each_fault_is_told_for_itself(facts, kind, stops, watched, words) -> None:
    found = troubles(facts, now=START)

    assert [(kind, stops)] == [(each.kind, each.stops) for each in found]
    assert words in found[0].said
    assert found[0].remedy
    assert watched is is_watched(found)


def test_a_moment_ago_is_soon_enough() -> None:
    late = replace(FINE, followed=START - FOLLOWED_WITHIN)

    assert [] == troubles(late, now=START)
    assert [] == troubles(replace(late, followed=START + FOLLOWED_WITHIN), now=START)


def test_what_stops_the_worker_comes_first_and_all_faults_are_told() -> None:
    found = troubles(
        Facts(unserved={"a": "b"}, store="away", auditor=GONE, followed=None), now=START
    )

    assert ["following", "version", "store", "auditor", "runner"] == [e.kind for e in found]
    assert [True, False, False, False, False] == [each.stops for each in found]


def test_a_silent_process_is_not_believed_about_what_fails() -> None:
    gone = replace(GONE, failing={"source w": "altered"})

    assert 1 == len(troubles(replace(FINE, auditor=gone), now=START))
    assert 1 == len(troubles(replace(FINE, runner=gone), now=START))


def test_without_recording_the_auditor_is_missed_by_nobody() -> None:
    found = troubles(replace(FINE, is_recording=False, auditor=None, store="away"), now=START)

    assert ["recording"] == [each.kind for each in found]
