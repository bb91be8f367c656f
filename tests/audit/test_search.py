"""Searching the trail: the same as looking at every event, on both databases."""

from dataclasses import replace
from datetime import timedelta

import pytest

from audit import records, search
from audit.search import Wanted
from audit.store import erasure, queries
from tests.entries import LABELS, MODEL, START, every_entry, identifier, prediction
from tests.stores import Store


@pytest.fixture
def filled(store: Store) -> Store:
    """Every kind of event, and answers of two versions and two people."""
    store.add(*(each for each in every_entry() if not isinstance(each, records.ImageRecord)))
    for number in range(120, 160):
        subject = None if number % 3 else f"patient-{number % 2}"
        model = replace(MODEL, version=3 + number % 2)
        store.add(replace(prediction(number), subject=subject, model=model))
    return store


WANTED = [
    Wanted(),
    Wanted(kind="review"),
    Wanted(kind="prediction", version=4),
    Wanted(model="digits", class_label="7"),
    Wanted(model="letters"),
    Wanted(subject="patient-1"),
    Wanted(since=START + timedelta(seconds=130), until=START + timedelta(seconds=140)),
    Wanted(version=3, since=START + timedelta(seconds=145)),
]


def fits(event: records.Event, wanted: Wanted) -> bool:
    """The definition, event by event."""
    answered = (wanted.model, wanted.version, wanted.class_label)
    if any(each is not None for each in answered):
        if not isinstance(event, records.PredictionRecord):
            return False
        found = (event.model.name, event.model.version, event.decided.label)
        if any(w not in (None, f) for w, f in zip(answered, found, strict=True)):
            return False
    return (
        wanted.kind in (None, event.kind)
        and (wanted.since is None or event.event_time >= wanted.since)
        and (wanted.until is None or event.event_time < wanted.until)
    )


def expected(everything: list[tuple[int, records.Event]], wanted: Wanted) -> list[int]:
    if wanted.subject is None:
        return [seq for seq, event in everything if fits(event, wanted)]
    # What is said about an answer belongs to whom the answer is about.
    about = {event.event_id for _, event in everything if event.subject == wanted.subject}
    return [
        seq
        for seq, event in everything
        if event.event_id in about or getattr(event, "prediction_id", "") in about
    ]


def test_a_search_finds_what_fits_newest_first(filled: Store) -> None:
    with filled.ledger.engine.begin() as connection:
        everything = [*queries.replay(connection)]
        for wanted in WANTED:
            found = search.events(connection, wanted, limit=1000)

            assert expected(everything, wanted)[::-1] == [each.row["seq"] for each in found], (
                wanted
            )
            assert all(each.event is not None for each in found)


def test_that_the_searches_above_find_something() -> None:
    assert any(label == "7" for label in LABELS)
    assert any(prediction(number).decided.label == "7" for number in range(120, 160))


def test_pages_together_are_the_whole(filled: Store) -> None:
    seen, before = [], None
    with filled.ledger.engine.begin() as connection:
        while page := search.events(connection, Wanted(), before=before, limit=7):
            seen += [each.row["seq"] for each in page]
            before = seen[-1]

    assert [*range(len(seen), 0, -1)] == seen


def test_one_event_stands_with_its_place_and_what_was_said_later(filled: Store) -> None:
    answer = identifier(1)
    with filled.ledger.engine.begin() as connection:
        found = search.one(connection, answer)
        later = search.about(connection, answer)
        alarm = search.about(connection, identifier(6))
        head, events = search.head(connection), len([*queries.replay(connection)])
        measured = search.measures(connection, answer)

    assert found is not None
    assert (answer, 1) == (found.row["event_id"], found.row["seq"])
    assert len(found.row["link"]) == len(found.row["seal"]) == 64
    said = [each.row["kind"] for each in later]
    assert ["label", "region", "review", "probe", "action", "comparison", "suspicion"] == [
        kind for kind in said if kind != "reading_request"
    ]
    assert ["acknowledgement", "decision"] == [each.row["kind"] for each in alarm]
    assert head == events
    assert {"activation_recall", "relevance_mass"} <= {each["name"] for each in measured}


def test_an_erased_answer_keeps_its_place_and_no_content(filled: Store) -> None:
    with filled.ledger.batch(now=START + timedelta(days=1)) as batch:
        erasure.erase_requested(batch, identify=lambda: identifier(99), forget=lambda _: ())
        done = batch.ingested
    with filled.ledger.engine.begin() as connection:
        found = search.one(connection, identifier(1))
        everything = search.events(connection, Wanted(), limit=1000)

    assert found is not None
    assert done
    assert found.event is None
    assert len(everything) == len({each.row["seq"] for each in everything})


def test_an_unknown_id_finds_nothing(filled: Store) -> None:
    with filled.ledger.engine.begin() as connection:
        assert search.one(connection, "x" * 26) is None
        assert [] == search.about(connection, 'x" OR 1=1 --')
