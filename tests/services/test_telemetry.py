import pytest
from prometheus_client import REGISTRY

from services import telemetry


def count(**labels: str) -> float:
    return REGISTRY.get_sample_value("rightly_request_seconds_count", labels) or 0.0


def test_labels_of_requests_have_few_values() -> None:
    before = count(route="other", method="other", status="404")
    telemetry.answered(None, "BREW", 404, 0.1)
    telemetry.answered(None, "STEAL", 404, 0.1)

    assert before + 2 == count(route="other", method="other", status="404")


def test_classes_beyond_the_first_are_others() -> None:
    labels = telemetry.ClassLabels(most=2)
    seen = [labels.of("m", each) for each in ("a", "b", "c", "a", "d")]

    assert ["a", "b", "other", "a", "other"] == seen
    assert labels.of("another model", "c") == "c"


def test_stages_are_timed_even_when_they_fail() -> None:
    def total() -> float:
        return REGISTRY.get_sample_value("rightly_stage_seconds_count", {"stage": "test"}) or 0.0

    with pytest.raises(ZeroDivisionError), telemetry.stage("test"):
        _ = 1 / 0

    assert total() == 1


def test_every_series_says_what_it_counts() -> None:
    ours = [each for each in REGISTRY.collect() if each.name.startswith(("rightly_", "audit_"))]

    assert len(ours) >= 8
    assert [] == [each.name for each in ours if not each.documentation]
