"""Whether a store is the one that its anchors know."""

from dataclasses import replace
from datetime import timedelta

import pytest

from audit.store.anchors import Anchor, AnchorFolder, regression
from tests.entries import START

AT = Anchor("s", 10, "a" * 64, START)
LATER = Anchor("s", 20, "b" * 64, START + timedelta(hours=1))


@pytest.mark.parametrize(
    ("known", "end", "words"),
    [
        ([], AT, ""),
        ([AT, LATER], LATER, ""),
        ([AT, LATER], replace(LATER, seq=21, link="c" * 64), ""),
        ([AT, LATER], AT, "ends at event 10, but at 2026-03-01T13:00:00 it had 20"),
        ([LATER, AT], replace(LATER, seq=19), "it had 20"),
        ([AT, LATER], replace(LATER, link="c" * 64), "event 20 is another one"),
        ([AT], replace(LATER, store_id="t"), "another store than that of 2026-03-01T12:00:00"),
    ],
)
def test_an_older_or_other_store_is_told(known, end, words) -> None:
    found = regression(known, end)

    assert bool(words) == bool(found)
    assert words in found


def test_anchors_that_are_set_aside_stay_and_count_no_more(tmp_path) -> None:
    folder = AnchorFolder(tmp_path / "anchors")
    folder.set_aside(now=START)  # where there are none yet
    folder.publish(AT)
    folder.publish(LATER)
    folder.set_aside(now=START)

    assert [] == folder.read()
    kept = sorted(each.name for each in folder.folder.iterdir())
    assert ["20260301T120000.000000-anchors.jsonl", "20260301T120000.000000-head.json"] == kept
    folder.publish(AT)  # listed at once, however near the one before was
    assert [AT, AT] == folder.read()
