"""Alarms with one cause are one incident, and the cause is no more than they show."""

from typing import Any

import pytest

from audit import incidents

RELIANCE = "part_reliance"


def alarm(number: int, measure: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "alarm_id": str(number),
        "model": "digits",
        "version": 3,
        "measure": measure,
        "class_label": "7",
        "state": "alarm",
        "raised_at": f"2026-03-01T12:{number:02}:00.000000Z",
        **changes,
    }


def grouped(*rows: dict[str, Any]) -> list[incidents.Incident]:
    return incidents.group(rows, reliance=RELIANCE)


def test_what_one_shortcut_moves_is_one_incident() -> None:
    [found] = grouped(
        alarm(1, "relevance_mass"),
        alarm(5, RELIANCE, class_label="8"),
        alarm(3, "activation_recall", state="acknowledged"),
    )

    assert ("shortcut", "alarm") == (found.cause, found.state)
    assert "2026-03-01T12:01:00.000000Z" == found.since
    assert ("7", "8") == found.classes
    assert (RELIANCE, "relevance_mass", "activation_recall") == found.measures
    assert "5" == found.leading["alarm_id"], "an intervention proves more than a heatmap"


def test_drift_of_the_data_is_another_incident() -> None:
    first, second = grouped(alarm(1, RELIANCE), alarm(2, "strangeness"), alarm(3, "confidence"))

    assert {"shortcut", "drift"} == {first.cause, second.cause}


def test_versions_and_models_are_not_mixed() -> None:
    rows = [
        alarm(1, RELIANCE),
        alarm(2, RELIANCE, version=4),
        alarm(3, RELIANCE, model="letters"),
    ]

    assert 3 == len(grouped(*rows))


def test_heatmaps_alone_are_not_called_a_shortcut() -> None:
    [found] = grouped(alarm(1, "relevance_mass"))

    assert "attention" == found.cause
    assert "not shown" in incidents.CAUSES[found.cause]


@pytest.mark.parametrize("state", ["warning", "ok"])
def test_what_is_only_close_to_an_alarm_proves_nothing(state) -> None:
    [found] = grouped(alarm(1, RELIANCE, state=state), alarm(2, "relevance_mass"))

    assert "attention" == found.cause
    assert "2026-03-01T12:02:00.000000Z" == found.since


def test_the_most_pressing_comes_first_then_the_newest() -> None:
    found = grouped(
        alarm(1, RELIANCE, state="closed"),
        alarm(2, RELIANCE, model="a"),
        alarm(3, RELIANCE, model="b"),
        alarm(4, RELIANCE, model="c", state="requested"),
    )

    assert ["b", "a", "c", "digits"] == [each.model for each in found]


def test_no_alarm_is_no_incident() -> None:
    assert [] == grouped()


def test_alarms_of_a_measure_from_before_are_interventions_too() -> None:
    [found] = grouped(alarm(1, "directed_flip"), alarm(2, "relevance_mass"))

    assert "shortcut" == found.cause
    assert "1" == found.leading["alarm_id"]
