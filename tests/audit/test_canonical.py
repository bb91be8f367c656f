"""One value, one text."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import canonical
from audit.canonical import Packed
from audit.errors import RecordError


@dataclass(frozen=True)
class Inner:
    name: str
    share: float


@dataclass(frozen=True)
class Outer:
    at: datetime
    inner: Inner | None
    many: tuple[Inner, ...]
    scores: Mapping[str, float]
    side: Literal["low", "high"]
    count: int
    sure: bool
    grid: Packed | None = None
    note: str = field(default="")


def texts(longest: int) -> st.SearchStrategy[str]:
    """Any text but one with a NUL, which is refused."""
    return st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=longest)


def outers() -> st.SearchStrategy[Outer]:
    inner = st.builds(Inner, texts(8), st.floats(allow_nan=False, allow_infinity=False))
    grids = st.integers(1, 4).flatmap(
        lambda side: st.binary(min_size=side * side, max_size=side * side).map(
            lambda data: Packed("|u1", (side, side), data)
        )
    )
    return st.builds(
        Outer,
        at=st.datetimes(timezones=st.just(UTC)),
        inner=st.none() | inner,
        many=st.lists(inner, max_size=3).map(tuple),
        scores=st.dictionaries(texts(5), st.floats(-1, 1)),
        side=st.sampled_from(["low", "high"]),
        count=st.integers(),
        sure=st.booleans(),
        grid=st.none() | grids,
        note=texts(50),
    )


@given(outers())
def test_what_is_written_is_read_back(value: Outer) -> None:
    tree = canonical.parse(canonical.text(canonical.dump(value)))

    assert value == canonical.load(Outer, tree)


@given(outers())
def test_the_text_of_a_value_is_its_only_text(value: Outer) -> None:
    first = canonical.text(canonical.dump(value))
    again = canonical.text(canonical.dump(canonical.load(Outer, canonical.parse(first))))

    assert first == again
    assert b"\n" not in first


def test_a_text_with_a_nul_is_refused() -> None:
    with pytest.raises(RecordError, match="NUL"):
        canonical.dump(Inner("a\0b", 0.5))


def test_keys_are_sorted_and_nothing_is_padded() -> None:
    assert canonical.text({"b": 1, "a": [1.5, None, "é"]}) == '{"a":[1.5,null,"é"],"b":1}'.encode()


def test_moments_are_utc_with_microseconds() -> None:
    east = datetime(2026, 1, 1, 1, 0, tzinfo=timezone(timedelta(hours=2)))

    assert canonical.moment(east) == "2025-12-31T23:00:00.000000Z"
    assert canonical.read_moment("2025-12-31T23:00:00.000000Z") == east


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1: {2}}])
def test_what_has_no_text_is_refused(value: object) -> None:
    with pytest.raises(RecordError):
        canonical.text(canonical.dump(value))


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(RecordError, match="time zone"):
        canonical.moment(datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test
    with pytest.raises(RecordError, match="time zone"):
        canonical.read_moment("2026-01-01T00:00:00")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"name": "a"}, "lacks"),
        ({"name": "a", "share": 1, "more": 1}, "no field"),
        ({"name": 3, "share": 1}, "Inner.name"),
        ({"name": "a", "share": True}, "Inner.share"),
        ([], "Inner"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tree: object, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        canonical.load(Inner, tree)


@pytest.mark.parametrize(
    "tree",
    [
        {"data": "AAA=", "dtype": "|u1", "shape": [3]},
        {"data": "!", "dtype": "|u1", "shape": [1]},
        {"data": "AA==", "dtype": "|S1", "shape": [1]},
        {"data": "AA==", "dtype": "|u1", "shape": [-1, -1]},
    ],
)
def test_an_array_that_does_not_add_up_is_refused(tree: object) -> None:
    with pytest.raises(RecordError):
        canonical.load(Packed, tree)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_shares_come_back_within_half_a_step(values: list[float]) -> None:
    array = np.array(values, np.float32)
    back = canonical.shares(canonical.packed_shares(array))

    assert np.abs(back - array).max() <= 0.5 / 255 + 1e-6
