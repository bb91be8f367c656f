"""A process says that it works; that it says nothing is told too."""

import json
from datetime import timedelta

import pytest

from services.records import presence
from services.records.presence import EVERY, SILENT_AFTER, Showing
from tests.entries import START

MOMENT = timedelta(seconds=1)


def test_what_was_said_is_read(tmp_path) -> None:
    assert presence.read(tmp_path, "auditor") is None
    Showing(tmp_path, "auditor").show({"source w": "altered"}, now=START)
    found = presence.read(tmp_path, "auditor")

    assert (START, {"source w": "altered"}) == (found.at, found.failing)
    assert presence.read(tmp_path, "runner") is None


def test_the_same_is_said_every_few_seconds_and_news_at_once(tmp_path) -> None:
    showing = Showing(tmp_path, "auditor")

    def at(moment, **failing: str):  # noqa: ANN202 - a datetime
        showing.show(failing, now=moment)
        return presence.read(tmp_path, "auditor").at

    assert START == at(START)
    assert START == at(START + EVERY - MOMENT)
    assert START + EVERY == at(START + EVERY)
    assert START + EVERY + MOMENT == at(START + EVERY + MOMENT, job="broken")
    assert START == at(START, job="broken")  # a clock that went back
    assert (
        "x" * 500
        == [at(START, job="x" * 600), presence.read(tmp_path, "auditor")][1].failing["job"]
    )


def test_silence_is_told_whichever_way_the_clock_went(tmp_path) -> None:
    Showing(tmp_path, "auditor").show({}, now=START)
    found = presence.read(tmp_path, "auditor")

    assert not found.is_silent(START + SILENT_AFTER)
    assert found.is_silent(START + SILENT_AFTER + MOMENT)
    assert not found.is_silent(START - SILENT_AFTER)
    assert found.is_silent(START - SILENT_AFTER - MOMENT)


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", '{"at": 3, "failing": {}}', '{"at": "soon", "failing": {}}',
        json.dumps({"at": "2026-03-01T00:00:00", "failing": {}}),
        json.dumps({"at": "2026-03-01T00:00:00+00:00", "failing": []}),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_no_sign_of_life(tmp_path, content) -> None:
    (tmp_path / "auditor.presence.json").write_text(content)

    assert presence.read(tmp_path, "auditor") is None


def test_a_home_that_cannot_be_written_ends_nobody(tmp_path, caplog) -> None:
    showing = Showing(tmp_path / "missing", "auditor")
    showing.show({}, now=START)
    assert "cannot be told" in caplog.text
    (tmp_path / "missing").mkdir()
    showing.show({}, now=START)

    assert presence.read(tmp_path / "missing", "auditor") is not None
