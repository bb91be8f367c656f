"""A teacher is a version that the plan names, of the champion's own kind."""

from dataclasses import replace
from pathlib import Path

import pytest

from audit import change_control
from audit.change_control import ChangePlan
from audit.errors import PlanError
from models.errors import UnknownModelError
from models.registry import Registry
from services import clock
from services.retraining import teaching
from tests import graphs
from tests.served import MODEL, registry_of_colours


def naming(*teachers: str) -> ChangePlan:
    plan = change_control.load()
    return replace(plan, data=replace(plan.data, teachers=teachers))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return registry_of_colours(tmp_path, 10.0, 5.0)


def test_the_named_version_teaches_its_model_and_no_other(registry: Registry) -> None:
    champion = registry.champion(MODEL)
    found = teaching.teacher_of(registry, naming(f"{MODEL}={MODEL}@2"), champion)

    assert found is not None
    assert (found.name, found.spec["classes"]) == (f"{MODEL}@2", graphs.CLASSES)
    assert Path(found.weights) == (registry.version(MODEL, 2).folder / "weights.safetensors")
    assert teaching.teacher_of(registry, naming(f"other={MODEL}@2"), champion) is None
    assert teaching.teacher_of(registry, change_control.load(), champion) is None


def test_a_teacher_of_another_kind_or_that_is_not_there_is_refused(
    registry: Registry, tmp_path: Path
) -> None:
    files = graphs.write_version(tmp_path / "other", classes=("red", "green", "violet"))
    registry.add("violet", files, now=clock.now())
    champion = registry.champion(MODEL)

    with pytest.raises(PlanError, match="teacher violet@1 has classes"):
        teaching.teacher_of(registry, naming(f"{MODEL}=violet@1"), champion)
    with pytest.raises(UnknownModelError):
        teaching.teacher_of(registry, naming(f"{MODEL}=absent@1"), champion)
