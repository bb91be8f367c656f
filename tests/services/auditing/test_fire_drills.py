"""Scheduled fire drills: held when due, kept apart from live detectors, seen in the metrics."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from audit import records
from audit.canonical import read_moment
from audit.store import connections, queries, tables
from audit.store.ledger import Ledger
from models.registry import Registry
from services import clock, secret
from services.auditing import auditor, fire_drills
from services.auditing.fire_drills import FireDrills
from services.auditing.gauges import Gauges
from services.auditing.ingestion import Ingestion
from services.settings import Settings
from tests.served import MODEL, registry_of_colours

DAY = timedelta(days=1)


@dataclass
class Drilling:
    drills: FireDrills
    audit: Ingestion
    moment: list[datetime]

    def audited(self, act: Callable[[], object]) -> None:
        """Act while an auditor works."""
        acting = threading.Thread(target=act)
        acting.start()
        while acting.is_alive():
            self.audit.step(now=clock.now())
            acting.join(0.02)
        while self.audit.step(now=clock.now()):
            pass

    def actions(self) -> list[records.ActionEvent]:
        with self.audit.ledger.engine.begin() as connection:
            found = [event for _, event in queries.replay(connection)]
        return [each for each in found if isinstance(each, records.ActionEvent)]

    def gauge(self, name: str) -> float | None:
        gauges = Gauges()
        gauges.show_drills(self.drills.standing)
        return gauges.registry.get_sample_value(name, {"model": MODEL})


@pytest.fixture
def drilling(tmp_path) -> Iterator[Drilling]:
    registry = registry_of_colours(tmp_path)
    chosen = Settings(home=tmp_path, registry=registry.root, default_model=MODEL, device="cpu")
    ledger = Ledger(connections.open_writer(chosen.store), secret.secret_key(chosen.chain_key))
    audit = auditor.connect(chosen, ledger)
    audit.prepare(now=clock.now())
    moment = [clock.now()]
    drills = FireDrills(chosen, DAY, moment[0], lambda: moment[0], lambda: audit.drilled)
    yield Drilling(drills, audit, moment)
    ledger.engine.dispose()


def test_a_drill_is_held_when_due_and_its_outcome_is_kept(drilling: Drilling) -> None:
    stop = threading.Event()
    drilling.drills.step(stop)
    assert drilling.actions() == []  # the service settles first
    assert drilling.gauge("audit_drill_success") is None

    drilling.moment[0] += fire_drills.SETTLE
    drilling.audited(lambda: drilling.drills.step(stop))
    assert ["begin", "alarm"] == [each.details["outcome"] for each in drilling.actions()]
    assert {"auditor"} == {each.actor for each in drilling.actions()}
    assert 1.0 == drilling.gauge("audit_drill_success")

    drilling.moment[0] += DAY / 2
    drilling.drills.step(stop)
    assert 2 == len(drilling.actions())  # not yet
    due = drilling.audit.drilled[MODEL] + DAY
    assert due.timestamp() == drilling.gauge("audit_drill_due_timestamp_seconds")

    drilling.moment[0] += DAY / 2
    drilling.audited(lambda: drilling.drills.step(stop))
    assert 4 == len(drilling.actions())


def test_a_drill_meets_nothing_that_is_live(drilling: Drilling) -> None:
    drilling.moment[0] += fire_drills.SETTLE
    drilling.audited(lambda: drilling.drills.step(threading.Event()))

    with drilling.audit.ledger.engine.begin() as connection:
        alarms = connection.execute(sa.select(tables.alarms.c.model)).scalars()
        assert {f"{MODEL} (drill)"} == set(alarms)
        counted = [tables.hours, tables.histograms, tables.points, tables.requests]
        assert [0] * 4 == [
            connection.execute(sa.select(sa.func.count()).select_from(each)).scalar_one()
            for each in counted
        ]
        assert {} == dict(queries.regions(connection, MODEL))


def test_a_silent_drill_is_said_and_stays_overdue(drilling: Drilling, monkeypatch) -> None:
    monkeypatch.setattr(fire_drills, "_PATIENCE_SECONDS", 0.2)
    drilling.moment[0] += 2 * DAY
    drilling.drills.step(threading.Event())  # nobody audits
    while drilling.audit.step(now=clock.now()):
        pass

    assert "silence" == drilling.actions()[-1].details["outcome"]
    assert 0.0 == drilling.gauge("audit_drill_success")
    first = Registry(drilling.drills.chosen.registry).pointer(MODEL).history[0].at
    due = read_moment(first) if first.endswith("Z") else datetime.fromisoformat(first)
    assert (due + DAY).timestamp() == drilling.gauge("audit_drill_due_timestamp_seconds")


def test_a_drill_that_is_stopped_says_nothing(drilling: Drilling) -> None:
    drilling.moment[0] += fire_drills.SETTLE
    stop = threading.Event()
    stop.set()
    drilling.drills.step(stop)

    assert drilling.drills.standing == {}


def test_no_time_between_drills_means_none(drilling: Drilling) -> None:
    drilling.drills.every = timedelta(0)
    before = threading.active_count()
    with fire_drills.running(drilling.drills):
        assert before == threading.active_count()


def test_the_thread_ends_with_its_block(drilling: Drilling) -> None:
    before = threading.active_count()
    with fire_drills.running(drilling.drills):
        assert before + 1 == threading.active_count()
    assert before == threading.active_count()
