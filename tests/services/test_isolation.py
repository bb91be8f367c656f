"""One bad job harms itself alone."""

import logging

from services.isolation import Isolation

LOG = logging.getLogger("tests.isolation")


def broken(words: str) -> None:
    raise ValueError(words)


def test_a_failure_is_said_once_and_again_when_it_changes(caplog) -> None:
    alone = Isolation(LOG)
    ran = [alone.run("a", broken, words) for words in ("one", "one", "two", "two")]

    assert [False] * 4 == ran
    assert ["one", "two"] == [each.message.split(": ")[1] for each in caplog.records]
    assert all(each.exc_info for each in caplog.records)
    assert {"a": "ValueError: two"} == alone.failing


def test_what_was_foreseen_is_said_without_its_traceback(caplog) -> None:
    Isolation(LOG, (ValueError,)).run("a", broken, "one")

    assert not caplog.records[0].exc_info


def test_a_job_that_works_again_says_so_once_and_is_no_failure(caplog) -> None:
    alone = Isolation(LOG)
    alone.run("a", broken, "one")
    alone.run("b", broken, "one")
    with caplog.at_level(logging.INFO):
        assert [True, True] == [alone.run("a", list) for _ in range(2)]

    assert ["b"] == [*alone.failing]
    assert 1 == sum("a works again" in each.message for each in caplog.records)
    alone.forget("b")
    assert {} == alone.failing
