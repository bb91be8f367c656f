"""Where the answers come from, from the falls of single answers."""

import numpy as np

from audit.reliance.parts import names
from audit.reliance.places import place


def falls(**strong: float) -> dict[str, float]:
    """Return small falls everywhere and strong ones where told; "r4c0" stands for "4,0"."""
    small = dict.fromkeys(names(), 0.01)
    return small | {
        (f"{name[1]},{name[3]}" if name.startswith("r") else name): fall
        for name, fall in strong.items()
    }


def test_a_fixed_place_is_said_with_its_size_and_share() -> None:
    found = [(f"id{n}", falls(r4c0=0.6 + n / 100, r4c1=0.4)) for n in range(10)]
    found += [(f"none{n}", falls()) for n in range(2)]
    where = place(found)

    assert where is not None
    assert (where.answers, where.carried, where.part) == (12, 10, "place")
    assert (where.left, where.top, where.width, where.height) == (0.0, 0.8, 0.4, 0.2)
    assert where.consistency == 10 / 12
    assert where.said("pneumonia") == (
        "lower left, 40% × 20% of the picture, carries 83% of the answers 'pneumonia'"
    )
    assert where.examples[0] == "id9"
    assert np.array(where.map).argmax() == 20


def test_changing_places_are_no_place() -> None:
    found = [(f"id{n}", falls(**{f"r{n}c{m}": 0.7})) for n in (0, 1, 3, 4) for m in (0, 2, 4)]
    where = place(found)

    assert where is not None
    assert where.part == "changing"
    assert where.consistency == 1.0
    assert "at changing places, carry 100% of the answers" in where.said()
    assert (where.width, where.height) == (1.0, 1.0)


def test_what_has_no_place_is_named() -> None:
    where = place([(str(n), falls(colour=0.5)) for n in range(4)])
    assert where is not None
    assert where.said() == "the colours outside the region carry 100% of the answers"


def test_where_nothing_carries_that_is_said() -> None:
    where = place([("one", falls())])
    assert where is not None
    assert where.said() == "no single part carries the answers"
    assert where.examples == ()
    assert place([]) is None
    assert place([("old", {})]) is None
