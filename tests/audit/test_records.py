"""Every kind of record survives its text."""

from dataclasses import replace
from typing import get_args

import pytest

from audit import records
from audit.errors import RecordError
from tests.entries import every_entry, prediction


def test_there_is_an_example_of_every_kind() -> None:
    assert {type(each) for each in every_entry()} == set(get_args(records.Entry))


@pytest.mark.parametrize("entry", every_entry(), ids=lambda each: each.kind)
def test_every_record_is_read_back_equal(entry: records.Entry) -> None:
    assert entry == records.from_bytes(records.to_bytes(entry))


def test_the_text_of_a_prediction_is_pinned() -> None:
    """A changed text would break the commitments of every stored record: raise SCHEMA instead."""
    text = records.to_bytes(prediction(1))

    assert text.startswith(b'{"event":{"classes":[{"index":')
    assert text.endswith(b'"kind":"prediction","schema":1}')


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"kind":"prediction","schema":2,"event":{}}', "schema 2"),
        (b'{"kind":"dream","schema":1,"event":{}}', "dream"),
        (b'{"kind":"prediction","event":{}}', "kind, schema and event"),
        (b"[]", "object"),
        (b"{", "not JSON"),
    ],
)
def test_what_is_no_record_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        records.from_bytes(data)


def test_a_measure_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(RecordError):
        records.to_bytes(replace(prediction(1), measures={"activation_recall": float("nan")}))
