"""Why a retraining is asked for and why not: written down once per change, and shown."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from audit import policy, records
from audit.decided import DecisionEvent
from audit.store import decisions, queries
from services.auditing.ingestion import Ingestion
from services.routes import decisions as routes
from tests.entries import START, identifier
from tests.services.auditing.test_auditor import drain, intact, make, stream, write

STEP = timedelta(seconds=6)


@pytest.fixture
def work(tmp_path) -> Iterator[Ingestion]:
    made = make(tmp_path)
    made.prepare(now=START)
    yield made
    made.ledger.engine.dispose()


def decided(work: Ingestion) -> list[DecisionEvent]:
    """From the trail, oldest first; the table must say the same."""
    with work.ledger.engine.begin() as connection:
        trail = [e for _, e in queries.replay(connection) if isinstance(e, DecisionEvent)]
        table = [event for _, event in decisions.decided(connection, "digits")]
    same = [(each.reasons, each.retrain, each.request_id, each.alarm_ids) for each in trail]
    assert same == [
        (each.reasons, each.retrain, each.request_id, each.alarm_ids) for each in reversed(table)
    ]
    return trail


def test_a_refusal_is_written_down_once_until_its_reasons_change(tmp_path, work) -> None:
    work.plan = policy.Plan(minimum_evidence=900)
    write(tmp_path, *stream(600, fall=100))
    for number in range(5):
        drain(work, now=START + number * STEP)
    [waits] = decided(work)
    assert not waits.retrain
    assert {"thin", "untrainable"} == {each.kind for each in waits.reasons}

    again = make(tmp_path, plan=work.plan)  # a restart says nothing twice
    again.prepare(now=START)
    drain(again, now=START + 10 * STEP)
    assert 1 == len(decided(again))
    again.plan = policy.Plan()
    drain(again, now=START + 20 * STEP)
    drain(again, now=START + 30 * STEP)

    _, asks = decided(again)
    assert asks.retrain
    assert {"ripe"} == {each.kind for each in asks.reasons}
    with again.ledger.engine.begin() as connection:
        [(row, decision)] = decisions.requests(connection, "digits")
    assert (row.request_id, row.status) == (asks.request_id, "open")
    shown = routes._request(row, decision)
    assert ([*asks.alarm_ids], []) == (shown.alarm_ids, shown.refusal)
    assert intact(again)
    again.ledger.engine.dispose()


def test_a_request_from_outside_that_is_refused_says_why(tmp_path, work) -> None:
    asked = [
        records.RequestEvent(
            identifier(number),
            START + timedelta(hours=number),
            f"r{number}",
            "digits",
            "alertmanager",
            "alertmanager",
            "alert AuditDriftDetected",
        )
        for number in range(2)
    ]
    done = {"request_id": "r0", "status": "promoted"}
    write(tmp_path, asked[0], records.ActionEvent(identifier(7), START, "run", "work", done))
    write(tmp_path, asked[1])
    drain(work)
    with work.ledger.engine.begin() as connection:
        found = [routes._request(*each) for each in decisions.requests(connection)]

    assert [("r1", "superseded"), ("r0", "promoted")] == [
        (each.request_id, each.status) for each in found
    ]
    assert [["cooling"], []] == [[reason.kind for reason in each.refusal] for each in found]


def test_nothing_to_decide_is_not_written_down(tmp_path, work) -> None:
    write(tmp_path, *stream(100))
    drain(work)

    assert [] == decided(work)
