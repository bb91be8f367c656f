"""The store: exactly once, all or nothing, erasable, and the same on both databases."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from audit import records
from audit.errors import StoreError
from audit.journal.lines import Place, Segment
from audit.store import connections, erasure, ledger, migration, queries, tables
from tests.entries import START, every_entry, identifier, ids, prediction, region
from tests.stores import KEY, Store


def events() -> list[records.Event]:
    return [each for each in every_entry() if not isinstance(each, records.ImageRecord)]


def later(kind: type[records.Event], number: int, **changes: object) -> records.Event:
    example = next(each for each in events() if isinstance(each, kind))
    return replace(example, event_id=identifier(number), **changes)


def test_the_migrations_make_the_tables_that_the_code_expects(store: Store) -> None:
    with store.ledger.engine.begin() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), tables.metadata)

    assert [] == differences


def test_preparing_twice_changes_nothing(store: Store) -> None:
    before = store.rows(tables.identity)
    store.ledger.prepare(now=START + timedelta(days=1))

    assert before == store.rows(tables.identity)


def test_a_store_of_a_later_version_is_refused(store: Store) -> None:
    store.tamper("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(StoreError, match="9999"):
        store.ledger.prepare(now=START)


def test_every_kind_of_event_is_stored_and_read_back(store: Store) -> None:
    store.add(*events())

    with store.ledger.engine.begin() as connection:
        assert list(enumerate(events(), 1)) == list(queries.replay(connection))


def test_numbers_count_from_one_without_a_gap(store: Store) -> None:
    for number in range(10):
        store.add(prediction(2 * number), prediction(2 * number + 1))

    assert list(range(1, 21)) == [row.seq for row in store.rows(tables.events)]


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    place = Place(Segment("w", 1), 100, 7)
    event = prediction(1)

    def fail() -> None:
        with store.ledger.batch(now=START) as batch:
            batch.ingest([(event, records.to_bytes(event), place)])
            batch.move_cursor(place)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert [] == store.rows(tables.events) == store.rows(tables.cursors)
    assert store.ledger.anchor(now=START).seq == 0


def test_the_same_event_is_stored_once(store: Store) -> None:
    store.add(prediction(1), prediction(2), prediction(1))
    store.add(prediction(2), prediction(3), source="copy")

    assert [identifier(1), identifier(2), identifier(3)] == [
        row.event_id for row in store.rows(tables.events)
    ]


def test_two_events_of_one_id_are_an_error(store: Store) -> None:
    store.add(prediction(1))

    with pytest.raises(StoreError, match="two different events"):
        store.add(replace(prediction(1), explainer="other"))


def test_a_cursor_comes_back(store: Store) -> None:
    first, second = Place(Segment("a", 1), 10, 11), Place(Segment("a", 2), 20, 2**32 - 1)
    for place in (first, second):
        with store.ledger.batch(now=START) as batch:
            batch.move_cursor(place)

    with store.ledger.engine.begin() as connection:
        assert {"a": second} == ledger.places(connection)


def test_events_are_append_only_even_by_replacing(store: Store) -> None:
    store.add(prediction(1))
    for statement in ("UPDATE events SET kind = 'x'", "DELETE FROM events"):
        with pytest.raises(sa.exc.DBAPIError), store.ledger.engine.begin() as connection:
            connection.exec_driver_sql(statement)
    if store.url.startswith("sqlite"):
        replacing = "INSERT OR REPLACE INTO events SELECT * FROM events"
        with pytest.raises(sa.exc.DBAPIError), store.ledger.engine.begin() as connection:
            connection.exec_driver_sql(replacing)


def test_a_reader_cannot_write(store: Store) -> None:
    store.add(prediction(1))
    reader = connections.open_reader(store.url)
    with pytest.raises(sa.exc.DBAPIError), reader.begin() as connection:
        connection.execute(sa.delete(tables.payloads))
    reader.dispose()


def test_a_reader_needs_a_store(tmp_path) -> None:
    with pytest.raises(StoreError, match="no audit store"):
        connections.open_reader(f"sqlite:///{tmp_path / 'none.db'}")


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "nonsense"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(StoreError):
        connections.open_writer(url)


def test_an_answer_is_found_by_its_id(store: Store) -> None:
    store.add(prediction(1), prediction(2))
    reading = queries.Reading(connections.open_reader(store.url))

    assert prediction(2) == reading.prediction(identifier(2))
    assert reading.prediction(identifier(3)) is None
    assert reading.later(identifier(2))["class_label"] == prediction(2).decided.label
    reading.engine.dispose()


def test_later_truth_changes_the_projection_and_not_the_record(store: Store) -> None:
    store.add(prediction(1))
    store.add(
        later(records.LabelEvent, 2, label="3"),
        later(records.LabelEvent, 3, label="4"),
        later(records.ReviewEvent, 4, verdict="right-reason"),
    )
    [row] = store.rows(tables.predictions)

    assert (row.label, row.verdict) == ("4", "right-reason")
    assert store.verify().intact


def test_a_later_measure_supersedes_only_its_own_source(store: Store) -> None:
    store.add(prediction(1))
    store.add(later(records.ProbeEvent, 2, measures={"flip": 1.0}))
    store.add(later(records.ProbeEvent, 3, measures={"flip": 0.0}))
    store.add(later(records.ProbeEvent, 4, measures={"flip": 0.5}, source="reviewer"))
    current = {(r.name, r.source): r.value for r in store.rows(tables.measures) if r.current}

    assert current["blur_flip", "client"] == 0.0
    assert current["blur_flip", "reviewer"] == 0.5
    assert ("activation_recall", "client") in current


def test_asking_twice_asks_once_and_one_request_is_open(store: Store) -> None:
    for number in range(1, 6):
        store.add(later(records.RequestEvent, number, request_id="r1"))
    store.add(later(records.RequestEvent, 7, request_id="r2"))
    store.add(later(records.RequestEvent, 8, request_id="r3", model="other"))

    assert {"r1": "open", "r2": "superseded", "r3": "open"} == {
        row.request_id: row.status for row in store.rows(tables.requests)
    }


def test_an_alarm_moves_through_its_states(store: Store) -> None:
    store.add(later(records.AlarmEvent, 1, alarm_id="a", state="warning"))
    moved = START + timedelta(days=1)
    store.add(later(records.AlarmEvent, 2, alarm_id="a", state="alarm", event_time=moved))
    [row] = store.rows(tables.alarms)

    assert (row.state, row.seq) == ("alarm", 1)
    assert row.raised_at < row.changed_at


def test_a_subject_is_erased_with_all_that_was_said_about_it(store: Store) -> None:
    address = "ab" * 32
    mine = replace(prediction(1, subject="patient-1"), image=address)
    store.add(mine, prediction(2, subject="patient-2"), prediction(3))
    store.add(
        later(records.LabelEvent, 4, label="3", prediction_id=identifier(1)),
        later(records.RegionEvent, 5, region=region(1, "reviewer"), prediction_id=identifier(1)),
        later(records.LabelEvent, 6, label="3", prediction_id=identifier(2)),
    )
    store.add(records.ErasureRequest(identifier(7), START, "dpo", "patient-1"))
    with store.ledger.batch(now=START) as batch:
        erased = erasure.erase_requested(
            batch, identify=ids(), forget=lambda known: [f"digits/{len(known)}"]
        )

    assert erased == erasure.Erased((1, 4, 5, 7), (address,), ("digits/1",))
    assert {2, 3, 6, 8} == {row.seq for row in store.rows(tables.payloads)}
    row = next(row for row in store.rows(tables.predictions) if row.seq == 1)
    assert (row.image, row.label, row.erased) == (None, None, True)
    assert [None] == [row.subject for row in store.rows(tables.erasures)]
    store.anchors.publish(store.ledger.anchor(now=START))
    checked = store.verify()
    assert checked.intact
    assert checked.erased == 4


def test_what_is_erased_is_not_in_the_file_any_more(store: Store) -> None:
    """SQLite leaves deleted content in free pages unless told otherwise."""
    if not store.url.startswith("sqlite"):
        pytest.skip("PostgreSQL's files are rewritten by its own vacuum")
    store.add(*(prediction(number, subject="mallory-the-subject") for number in range(50)))
    store.add(records.ErasureRequest(identifier(70), START, "dpo", "mallory-the-subject"))
    with store.ledger.batch(now=START) as batch:
        erasure.erase_requested(batch, identify=ids(), forget=lambda _: ())
    store.ledger.forget_traces()
    name = store.url.removeprefix("sqlite:///")
    content = Path(name).read_bytes() + Path(name + "-wal").read_bytes()

    assert b"mallory-the-subject" not in content


def test_an_erased_answer_takes_no_more_labels(store: Store) -> None:
    store.add(prediction(1, subject="p"))
    store.add(records.ErasureRequest(identifier(2), START, "dpo", "p"))
    with store.ledger.batch(now=START) as batch:
        erasure.erase_requested(batch, identify=ids(), forget=lambda _: ())
    store.add(later(records.LabelEvent, 3, label="3"))
    [row] = store.rows(tables.predictions)

    assert row.label is None


def test_each_class_of_content_expires_in_its_time(store: Store) -> None:
    plan = erasure.Retention(
        images=timedelta(days=30), evidence=timedelta(days=365), events=timedelta(days=730)
    )
    store.add(replace(prediction(1), image="ab" * 32))
    store.add(later(records.LabelEvent, 2))

    def expire(days: int) -> erasure.Erased:
        with store.ledger.batch(now=START + timedelta(days=days)) as batch:
            return erasure.expire(batch, plan, identify=identify)

    identify = ids()
    assert expire(29) == erasure.Erased()
    assert expire(31) == erasure.Erased(images=("ab" * 32,))
    assert expire(364) == erasure.Erased()
    assert expire(366) == erasure.Erased(sequences=(1,))
    assert expire(729) == erasure.Erased()
    assert expire(731) == erasure.Erased(sequences=(2,))
    assert expire(2000) == erasure.Erased()  # the erasures' own records stay
    store.anchors.publish(store.ledger.anchor(now=START))
    assert store.verify().intact


def test_a_legal_hold_stops_expiry_and_not_a_request(store: Store) -> None:
    plan = erasure.Retention(hold=frozenset({"held"}))
    store.add(replace(prediction(1, subject="held"), image="ab" * 32))
    with store.ledger.batch(now=START + timedelta(days=999)) as batch:
        assert erasure.expire(batch, plan, identify=ids()) == erasure.Erased()

    store.add(records.ErasureRequest(identifier(2), START, "dpo", "held"))
    with store.ledger.batch(now=START) as batch:
        erased = erasure.erase_requested(batch, identify=ids(), forget=lambda _: ())
    assert erased.sequences == (1, 2)


def test_events_are_kept_half_a_year_at_least() -> None:
    with pytest.raises(StoreError, match="183"):
        erasure.Retention(events=timedelta(days=182))


def test_the_key_is_not_in_the_store(store: Store) -> None:
    store.add(prediction(1))
    with store.ledger.engine.begin() as connection:
        for table in tables.metadata.sorted_tables:
            for row in connection.execute(sa.select(table)):
                assert KEY not in list(row)
                assert KEY.hex() not in list(row)


def test_a_store_without_migrations_is_not_read(tmp_path) -> None:
    engine = connections.open_writer(f"sqlite:///{tmp_path / 'empty.db'}")

    with engine.begin() as connection, pytest.raises(StoreError, match="needs"):
        migration.require_current(connection)
    engine.dispose()
