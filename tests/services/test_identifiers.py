from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services import clock, identifiers

moments = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants naive bounds


@given(moments, moments)
def test_identifiers_sort_by_time(first, second) -> None:
    earlier, later = sorted([first, second])
    apart = later - earlier >= timedelta(milliseconds=1)

    assert not apart or identifiers.identifier(earlier) < identifiers.identifier(later)


@given(moments)
def test_an_identifier_has_its_form(moment) -> None:
    assert identifiers.is_identifier(identifiers.identifier(moment))


def test_the_digits_are_crockfords() -> None:
    """One millisecond after 1970 with all random bits set, written out by hand."""
    moment = datetime.fromtimestamp(0.001, tz=UTC)

    assert identifiers.identifier(moment, entropy=2**80 - 1) == "0000000001" + "Z" * 16


@pytest.mark.parametrize(
    "text", ["", "01", "0" * 27, "8" + "0" * 25, "01JDU" + "0" * 21, "a" * 26, "0" * 26 + "\n"]
)
def test_other_texts_are_no_identifiers(text) -> None:
    assert not identifiers.is_identifier(text)


def test_before_1970_there_are_none() -> None:
    with pytest.raises(ValueError, match="1969"):
        identifiers.identifier(datetime(1969, 1, 1, tzinfo=UTC))


def test_the_clock_knows_its_time_zone() -> None:
    assert clock.now().utcoffset() == timedelta(0)
